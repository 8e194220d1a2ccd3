# The service, `matter serve`, in a small image that runs as nobody in particular.
#
#   make wheel                              first: the engine comes from there, matter_sdk/gfm.engine
#   docker build -t matter .
#   docker run --rm -p 8000:8000 matter
#   docker run --rm -p 8000:8000 -v $PWD/my.engine:/my.engine:ro matter /my.engine --queue 32
#
# It listens on every address of the container; publish the port to where a proxy with TLS and
# passwords reaches it.

FROM python:3.12-slim AS wheel
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN test -f /source/matter_sdk/gfm.engine || { echo "no matter_sdk/gfm.engine: run make wheel first" >&2; exit 1; }
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /source

FROM python:3.12-slim AS installed
COPY --from=wheel /wheel /wheel
RUN python -m venv /opt/matter \
 && /opt/matter/bin/pip install --no-cache-dir "$(echo /wheel/matter_sdk-*.whl)[serve,openvino]"

FROM python:3.12-slim
COPY --from=installed /opt/matter /opt/matter
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home matter
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["/opt/matter/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/matter/bin/matter", "serve", "--host", "0.0.0.0", "--port", "8000"]
