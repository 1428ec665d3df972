# The words people type. `make help` lists them; `make demo` and `make test` set everything up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help install demo test scale app check format docs wheel bench gpu gpu-data gpu-check gpu-bench ledger assets clean

PYTHON   ?= python3# the interpreter that .venv is made from, and that runs gpu
VENV     ?= .venv
TORCH    := $(shell grep '^torch==' constraints.txt)# by its version: an unpinned torch brings gigabytes of CUDA libraries
OUT      ?= out
PYTEST_ARGS ?=
APP_VENV := $(OUT)/app-venv
APP_BIN := $(APP_VENV)/bin
APP_PACKAGES := gradio pillow playwright axe-playwright-python
TEST_JOBS ?= 2# test files side by side, each with its share of the cores
RESULTS  ?= benchmarks/results# where bench and gpu leave their JSON
GPU_DATA ?= .gpu-data# weights and golden values for a GPU machine without a network; ignored by git
export MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := python -m pip install --quiet --no-compile -c constraints.txt

BIN := $(VENV)/bin
BUILD_TOOLS := setuptools cmake ninja pybind11
DOCS_TOOLS := mkdocs-material mkdocstrings-python
NATIVE := $(shell find csrc -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null)
BUILD_INPUTS := $(NATIVE) $(wildcard setup.py CMakeLists.txt build_backend/*.py) pyproject.toml constraints.txt

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- set-up: torch first, by its version; then the build tools; then, side by side, packages and the native build ---
# The package is installed in place (editable), so Python changes need no new install, and tests and demo run the
# checkout's own code with the `_C` built from its csrc/; a change under csrc/ or to the build builds it again.
# `make --jobs=2 install` lets pip unpack the packages while the compilers run. Nothing is compiled to bytecode ahead:
# Python does that with what is imported, a part of it all.

$(BIN)/.made:
	@echo 'setting up $(VENV): torch, then the tools, then deltafast (the first time takes some minutes)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(BIN)/.torch: $(BIN)/.made
	$(BIN)/$(PIP_INSTALL) "$(TORCH)"
	touch $@

$(BIN)/.tools: $(BIN)/.torch constraints.txt
	$(BIN)/$(PIP_INSTALL) $(BUILD_TOOLS)
	touch $@

$(BIN)/.packages: $(BIN)/.tools pyproject.toml constraints.txt
	$(BIN)/python build_backend/requirements.py evaluate test dev > $(BIN)/packages.txt
	$(BIN)/$(PIP_INSTALL) -r $(BIN)/packages.txt
	touch $@

$(BIN)/.installed: $(BIN)/.tools $(BUILD_INPUTS)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	touch $@

READY := $(BIN)/.packages $(BIN)/.installed

install: $(READY) ## make .venv and build the package in place (everything below does it when needed)

# ---- what people run ------------------------------------------------------------------------------------------------

demo: $(READY) ## a contact sheet of edited faces in out/, in minutes, without a GPU
	$(BIN)/deltafast demo $(OUT)

test: $(READY) ## every test that this machine can run
	OMP_NUM_THREADS=$$(( $(MAX_JOBS) > $(TEST_JOBS) ? $(MAX_JOBS) / $(TEST_JOBS) : 1 )) \
	  $(BIN)/python -m pytest --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

scale: $(READY) ## the tests of many machines with Ray itself, which `test` leaves out (115 MB, some minutes)
	$(BIN)/python -m pip install --quiet -c constraints.txt "ray[data]"
	$(BIN)/python -m pytest tests/scale $(PYTEST_ARGS)

# What Gradio needs is newer or older than what the tests need: it lies before the packages of .venv, in a place of its own.
$(APP_BIN)/.installed: $(READY) constraints-app.txt
	$(PYTHON) -m venv $(APP_VENV)
	echo "import site; site.addsitedir('$$($(abspath $(BIN))/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")')" \
	  > $$($(APP_BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/packages_of_tests.pth
	$(APP_BIN)/python -m pip install --quiet -c constraints-app.txt $(APP_PACKAGES)
	touch $@

app: $(APP_BIN)/.installed ## the app's tests, in a real Chromium, which `test` leaves out (some 200 MB, three minutes)
	$(APP_BIN)/python -m pytest tests/app $(PYTEST_ARGS)

check: $(BIN)/.packages ## ruff, mypy --strict, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(NATIVE),$(BIN)/clang-format --dry-run -Werror $(NATIVE))

format: $(BIN)/.packages ## let ruff and clang-format rewrite what `check` would complain about
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NATIVE),$(BIN)/clang-format -i $(NATIVE))

$(BIN)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(DOCS_TOOLS)
	touch $@

docs: $(BIN)/.docs ## the documentation as a site in out/docs/site, which needs no network
	$(BIN)/python docs/site/build.py $(OUT)/docs

wheel: $(READY) ## a wheel for other machines in out/wheels: CPU kernels and, where nvcc is found, CUDA's
	$(BIN)/python build_backend/manylinux.py $(OUT)/wheels

bench: $(READY) ## the benchmarks on this machine, each checked against its reference; JSON in benchmarks/results
	mkdir -p $(RESULTS)
	$(BIN)/python -m pytest --benchmark --benchmark-json=$(RESULTS)/bench-$$(uname -m).json $(PYTEST_ARGS)

# ---- on a machine with a GPU: its own Python with torch, nvcc and pytest; no network, no .venv ------------------------

gpu-data: $(READY) ## lay weights and golden values into .gpu-data, to be carried to a GPU machine
	$(BIN)/python -m benchmarks.gpu_data $(GPU_DATA)

ONLY     ?=# steps of gpu, with commas; all unless given
KERNELS  ?=# ops whose kernels it checks, with commas; all unless given
REHEARSE ?=# anything: on a CPU, on tiny sizes
GPU = $(PYTHON) -m benchmarks.gpu --data $(GPU_DATA) --results $(RESULTS) --kernels "$(KERNELS)" \
  $(if $(REHEARSE),--rehearse)

gpu: ## everything about CUDA in six minutes, the most important first; JSON after every step
	$(GPU) --only "$(ONLY)"

gpu-check: ## its steps without speeds: build, kernels, networks, GPU tests, compute-sanitizer
	$(GPU) --only build,kernels,networks,tests,sanitizer

gpu-bench: ## its steps with speeds: build, speeds with baselines and floors, profiles
	$(GPU) --only build,speed,profile

ledger: $(READY) ## docs/gpu-verified.md from the JSON that `make gpu` left in benchmarks/results
	$(BIN)/python -m benchmarks.ledger

# ---- the bundled assets ---------------------------------------------------------------------------------------------
# Hours on two cores. Every step keeps what it has finished, so after a stop `make assets` goes on from there.

GENERATOR  ?= mobilestylegan-ffhq
IDENTITIES ?= 48# random bald identities beside the two heads
SEED       ?= 0
TWO_HEADS  := yaw pitch smile eyes-closed light# what the demo shows of the two heads
# attribute:reach:asked-gain, chosen on seeds from 1000 on
EDITORS    := yaw:0.3:1.7 pitch:0.45:1.6 smile:1.0:1.0 eyes-closed:1.0:1.0 light:1.25:1.0 mouth-open:1.25:1.0 \
              brows-raised:1.5:2.0 light-elevation:1.25:3.5
# flows of what no network here reads: attribute:others that are taken out of it, from sequences of their own
PEOPLE     := age:gender,smile weight:gender,age,smile gender:age,smile
ASSETS     := deltafast/assets
WORK       ?= $(OUT)/assets

assets: $(READY) ## make the bundled encoder, latents and editors anew (hours; goes on where it was stopped)
	mkdir -p $(ASSETS)/latents $(ASSETS)/editors
	$(BIN)/deltafast render $(WORK)/sequences --identities $(IDENTITIES) --seed $(SEED)
	$(BIN)/deltafast train-encoder $(GENERATOR) $(WORK)/encoder --seed $(SEED) --heads $(WORK)/sequences
	cp $(WORK)/encoder/encoder.safetensors $(ASSETS)/encoder.safetensors
	$(BIN)/deltafast render $(WORK)/two-heads $(foreach name,$(TWO_HEADS),--attribute $(name))
	$(BIN)/deltafast project $(WORK)/two-heads $(WORK)/two-heads-latents --generator $(GENERATOR) --steps 50
	$(BIN)/python -c "from deltafast.sequence_latents import load_latents; \
	  load_latents('$(WORK)/two-heads-latents/latents.safetensors').save('$(ASSETS)/latents/two-heads.safetensors', half=True)"
	$(BIN)/deltafast project $(WORK)/sequences $(WORK)/sequences-latents --generator $(GENERATOR) --steps 0
	for editor in $(EDITORS); do \
	  set -- $$(echo $$editor | tr : ' '); \
	  $(BIN)/deltafast train $(WORK)/sequences-latents --attribute $$1 --loss precise --reach $$2 --asked-gain $$3 \
	    --seed $(SEED) --out $(WORK)/editors/$$1.safetensors && cp $(WORK)/editors/$$1.safetensors $(ASSETS)/editors/ \
	    || exit 1; \
	done
	$(BIN)/deltafast render $(WORK)/people-sequences --identities 14 --seed $(SEED) $(foreach name,age gender weight \
	  smile,--attribute $(name))
	$(BIN)/deltafast project $(WORK)/people-sequences $(WORK)/people-latents --generator $(GENERATOR) --steps 0
	for editor in $(PEOPLE); do \
	  name=$${editor%%:*}; \
	  $(BIN)/deltafast train $(WORK)/people-latents --attribute $$name --form flow --seed $(SEED) \
	    $$(echo $${editor#*:} | tr , '\n' | sed 's/^/--without /') --out $(WORK)/editors/$$name.safetensors \
	    && cp $(WORK)/editors/$$name.safetensors $(ASSETS)/editors/ || exit 1; \
	done
	$(BIN)/python benchmarks/asset_ledger.py


clean: ## remove .venv, builds, caches and out/ (never the user's cache, never assets)
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -f deltafast/*.so deltafast/*.pyd
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
