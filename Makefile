# Everything from a fresh clone: a machine with Python, a C++ compiler, pip and make is enough.
#
#   make wheel    a wheel with the light engine inside, in dist/
#   make demo     build gfm.engine, matte pictures and a clip, write them to out/
#   make check    lint, types and the tests that matter most: under two minutes on two cores
#   make test     lint, types and all tests
#   make lint     lint and formatting alone
#   make fuzz     10,000 engines mutated at random (the tests try 300)
#   make sanitize the kernels' tests under AddressSanitizer and UBSan (needs g++)
#   make docs     the documentation's site, in build/docs/site; every warning is an error
#   make clean    remove what the targets made, the virtual environment included
#
# PYTHON=python3.12 make test takes another interpreter for the environment (then `make clean` first).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip's progress on a terminal, its errors alone in a log.
QUIET := $(shell test -t 2 || echo --quiet)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install $(QUIET)
TORCH := torch==2.13.0

# What the compiled module is made of; Python files need no new installation.
SOURCES := pyproject.toml CMakeLists.txt \
	$(wildcard kernels/include/*.h kernels/host/*.h kernels/host/*.cpp kernels/cuda/*.cu)
PACKAGES := sdk kernels export training samples

.PHONY: help wheel demo check quick test lint types links docs fuzz sanitize clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/stamp
	$(BIN)/python -m samples.demo

# Without this engine a wheel works too, but has none for `Matter()` to open. No plans: those are for one
# kind of GPU. An sdist takes it along, so that a wheel for another system needs no PyTorch.
ENGINE := matter_sdk/gfm.engine
$(ENGINE): $(wildcard weights/gfm-*.safetensors) | $(VENV)/stamp
	$(BIN)/python -m export.build --model gfm --fp16 --target onnx --output $@

wheel: $(ENGINE)
	$(BIN)/python -m pip wheel $(QUIET) --no-deps --no-build-isolation --wheel-dir dist .

# Types in one process, tests in two: mypy has nothing to do where its cache is right.
check: lint
	@$(MAKE) --no-print-directory -j2 -Otarget types quick

# Chosen by what a user loses if it breaks, then by processor time, a second or two a file: the kernels,
# the SDK, what commands refuse, and the rules of the code. Not in here: what builds engines, trains
# networks, compiles CUDA, mutates files or waits for clocks.
QUICK := tests/test_house.py tests/kernels tests/sdk \
	tests/export/test_options.py tests/export/test_calibration.py tests/benchmarks/test_rounds.py
SLOW := tests/kernels/test_cuda_sources.py tests/kernels/test_cuda_on_cpu.py tests/sdk/test_fuzz.py \
	tests/sdk/test_soak.py
quick: $(VENV)/stamp
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(QUICK) $(addprefix --ignore=,$(SLOW))

# One process a core: the tests leave one core half idle.
test: lint types
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(VENV)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and the docs find matter_sdk.sdk in matter_sdk/sdk alone: links lay the packages out as a wheel does.
links:
	@mkdir -p build/types/matter_sdk
	@ln -sfn $(addprefix $(CURDIR)/,$(PACKAGES) $(wildcard matter_sdk/*.py)) build/types/matter_sdk/
	@ln -sfn $(CURDIR)/benchmarks build/types/

types: $(VENV)/stamp links
	MYPYPATH=build/types $(BIN)/mypy -p matter_sdk -p benchmarks

# In an environment of its own: it needs none of the packages, and the tests need none of MkDocs.
DOCS := build/docs
PAGES := README.md SECURITY.md CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md docs \
	weights/README.md weights/attribution.csv benchmarks/results
docs: $(DOCS)/venv/stamp links
	@rm -rf $(DOCS)/source
	@mkdir -p $(DOCS)/source/weights $(DOCS)/source/benchmarks
	@$(foreach page,$(PAGES),ln -s $(CURDIR)/$(page) $(DOCS)/source/$(page) &&) true
	NO_MKDOCS_2_WARNING=1 $(DOCS)/venv/bin/python -m mkdocs build --strict

$(DOCS)/venv/stamp: constraints-docs.txt
	@rm -rf $(DOCS)/venv
	@$(PYTHON) -m venv $(DOCS)/venv
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(DOCS)/venv/bin/python -m pip install $(QUIET) \
	  --require-hashes --no-deps -r $<
	@touch $@

fuzz: $(VENV)/stamp
	$(BIN)/python -m tests.sdk.fuzz_engine --count 10000

# A build of its own, beside the installed one. Sanitizers come before all else that a process loads, and
# Python itself leaks on purpose.
SANITIZED := build/sanitize/installed
$(SANITIZED)/stamp: $(VENV)/stamp
	@rm -rf $(SANITIZED)
	CXX=g++ $(PIP) --no-deps --no-build-isolation --target $(SANITIZED) -C build-dir=build/sanitize \
	  -C cmake.build-type=RelWithDebInfo -C cmake.define.MATTER_CUDA=OFF \
	  -C cmake.define.MATTER_SANITIZE=address,undefined .
	@touch $@

sanitize: $(SANITIZED)/stamp
	MATTER_HOST=$$(echo $(SANITIZED)/matter_sdk/kernels/_host*.so) \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(BIN)/python -m pytest tests/kernels --ignore tests/kernels/test_cuda_sources.py

# The interpreter and the compiler are looked at first, so that what is missing is said in one line.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) not found, expected Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version 2>&1) found, expected Python 3.11 or newer: name one, for example make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	  echo "no C++ compiler found, the CPU kernels need one: apt-get install g++, or set CXX" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# What constraints.txt lists is taken only if its SHA-256 is in there. On a machine whose package index
# offers a CPU-only torch, that one is smaller by gigabytes: PIP_EXTRA_INDEX_URL names it.
$(VENV)/libraries: constraints.txt | $(BIN)/python
	@echo "Installing PyTorch and the libraries (a few minutes on a slow line)"
	@$(PIP) --require-hashes --no-deps -r constraints.txt
	@$(PIP) $(TORCH)
	@touch $@

$(VENV)/stamp: $(SOURCES) $(VENV)/libraries | $(BIN)/python
	@echo "Compiling the kernels"
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist out gfm.engine $(ENGINE) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
