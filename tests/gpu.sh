#!/usr/bin/env bash
# What only a GPU can tell, in ten minutes: bash tests/gpu.sh [FOLDER]
#
# Run it in a checkout, where PYTHON (default .venv/bin/python, else python3) has the project's
# packages and CuPy. Each step has its own limit and stops no other. FOLDER gets
# summary.txt (a line a step), log.txt (everything) and the benchmarks' page.
#
# TensorRT is played by a stand-in wherever it is not installed: see tests/sdk/test_real_streams.py.
set -u
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
limit=${LIMIT:-560} # seconds of all steps
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
failed=0
mkdir -p "$out"
: >"$out/summary.txt"
: >"$out/log.txt"

step() { # step NAME SECONDS PROVES COMMAND...
  local name=$1 most=$2 proves=$3 began=$SECONDS left=$((limit - SECONDS)) rc
  shift 3
  if [ $left -lt 15 ]; then
    failed=1
    echo "$name: SKIPPED, no time left" | tee -a "$out/summary.txt"
    return
  fi
  [ "$most" -gt $left ] && most=$left
  echo "=== $name: at most $most s" >>"$out/log.txt"
  timeout -k 5 "$most" "$@" >"$out/step.log" 2>&1
  rc=$?
  # Both end well where there is no GPU, which proves nothing.
  if [ $rc = 0 ] && { grep -q "not measured" "$out/step.log" ||
    { [[ " $* " == *" pytest "* ]] && ! grep -q " passed" "$out/step.log"; }; }; then rc="(nothing ran)"; fi
  [ $rc = 0 ] || failed=1
  cat "$out/step.log" >>"$out/log.txt"
  echo "$name: $([ $rc = 0 ] && echo ok || echo "FAILED $rc"), $((SECONDS - began)) s: $proves" |
    tee -a "$out/summary.txt"
}

gpu() { # gpu OPTIONS...: the command that runs tests marked gpu
  echo "$python -m pytest -q -m gpu -p no:cacheprovider $*"
}

step machine 20 "which GPU, driver, compiler and packages" bash -c "
  nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv
  nvcc --version | tail -2; ldconfig -p | grep -E 'nvcuvid|nvidia-encode|libcuda'
  $python -c 'import cupy, numpy; print(\"CuPy\", cupy.__version__, \"NumPy\", numpy.__version__)'"
step kernels 110 "each kernel gives the CPU's bytes, on a stream, in a graph, for any strides" \
  $(gpu tests/kernels/test_contract.py)
step nvrtc 60 "the same kernels without nvcc's binaries" \
  $(gpu tests/kernels/test_contract.py -p tests.fakes.no_fatbin -k gives_the_same)
step streams 120 "slots, staging, events, CUDA graphs and mattes on real streams" \
  $(gpu tests/sdk/test_real_streams.py)
step sdk 150 "plans of the installed TensorRT; NVDEC and NVENC where the driver has them" \
  $(gpu tests/sdk/test_on_gpu.py)
step benchmarks 120 "each kernel beside a copy of its bytes; networks and frames" \
  "$python" -m benchmarks gpu --quick --output "$out/page"
for tool in memcheck initcheck; do
  step $tool 60 "no kernel touches memory that is not its own, or that nobody wrote ($tool)" \
    compute-sanitizer --tool $tool --error-exitcode 9 --target-processes all \
    $(gpu tests/kernels/test_contract.py -k gives_the_same)
done
rm -f "$out/step.log"
exit $failed
