# `make help` lists the commands. Everything runs inside .venv, which is made from requirements.lock;
# once it is there, nothing here needs the network.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME

VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.installed
SOURCES := app worker tests benchmarks examples

# The stamp holds the folder it was made in and is written last: without it, or after the folder
# was moved or its Python removed, .venv is made anew.
IGNORED := $(shell [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] && \
	$(VENV)/bin/python -c '' 2>/dev/null || rm -f $(STAMP))

# Run, not just found: version managers leave launchers behind for Pythons that are not chosen.
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)

COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP) ## Make .venv from requirements.lock (PYTHON=... chooses the interpreter)
	@:

$(STAMP): requirements.lock pyproject.toml
	@if [ -f $@ ]; then rm $@; else found=; \
		for python in $(CANDIDATES); do \
			"$$python" -c '$(SUITABLE)' 2>/dev/null && found="$$python" && break; \
		done; \
		if [ -z "$$found" ]; then \
			echo "Penjing needs Python 3.11, 3.12 or 3.13 with its venv module; tried: $(CANDIDATES)." >&2; \
			echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name yours:" >&2; \
			echo "  make install PYTHON=/path/to/python3.12" >&2; \
			exit 1; \
		fi; \
		echo "Making $(VENV) with $$("$$found" -V)."; \
		"$$found" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing the packages of requirements.lock (the first time: about 2 GB, a few minutes)."
	@$(RUN) pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" > $@

.PHONY: demo
demo: install ## Make a LeNet-5 smaller and faster on this machine, and show the figures
	@$(VENV)/bin/penjing demo

.PHONY: up
up: install ## Run the whole service here until Ctrl-C (API on http://127.0.0.1:8000)
	@$(VENV)/bin/penjing up

# Two processes, one thread of TensorFlow each: the files of tests are dealt out among them.
PARALLEL := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 $(RUN) pytest -n 2 --dist loadfile

.PHONY: test
test: install ## Run all tests
	@$(PARALLEL)

.PHONY: test-fast
test-fast: install ## Run the tests that need no TensorFlow (seconds)
	@$(RUN) pytest -m "not slow and not e2e" --ignore=tests/worker/engine --ignore=tests/e2e

.PHONY: test-slow
test-slow: install ## Run the tests that train models or drive the running stack
	@$(PARALLEL) -m "slow or e2e or applications or hostile"

.PHONY: test-kernels
test-kernels: install ## Try the box on kernels from 5.10 on and on aarch64, emulated (root, Debian, minutes)
	@$(RUN) benchmarks.security.kernels

.PHONY: check
check: lint test ## Everything CI runs: format, lint, types, import contracts, all tests

.PHONY: lint
lint: install ## Check format, lint rules, types and import contracts
	@$(RUN) ruff format --check --quiet $(SOURCES) || \
		{ echo "Not formatted; \`make format\` mends it." >&2; exit 1; }
	@$(RUN) ruff check --quiet $(SOURCES)
	@$(RUN) mypy --no-error-summary
	@$(VENV)/bin/lint-imports --no-logo

.PHONY: format
format: install ## Format the code and mend what the linter can mend
	@$(RUN) ruff check --quiet --fix-only $(SOURCES)
	@$(RUN) ruff format --quiet $(SOURCES)

.PHONY: openapi
openapi: install ## Write docs/openapi.json as the API now is
	@$(RUN) app.api.openapi > docs/openapi.new && mv docs/openapi.new docs/openapi.json

.PHONY: figures
figures: install ## Measure what README claims (about 15 minutes; MNIST=/path/to/mnist.npz)
	@[ -f "$(MNIST)" ] || { echo "Name MNIST as keras.datasets.mnist delivers it:" >&2; \
		echo "  make figures MNIST=/path/to/mnist.npz" >&2; exit 1; }
	@$(RUN) benchmarks.api_process
	@$(RUN) benchmarks.upload_1gib
	@$(RUN) benchmarks.service_overhead
	@$(RUN) benchmarks.lenet5_mnist "$(MNIST)"

.PHONY: figures-structure
figures-structure: install ## Measure what README claims of structure (two hours; MNIST=...)
	@[ -f "$(MNIST)" ] || { echo "Name MNIST as keras.datasets.mnist delivers it:" >&2; \
		echo "  make figures-structure MNIST=/path/to/mnist.npz" >&2; exit 1; }
	@$(RUN) benchmarks.structure.surgery
	@$(RUN) benchmarks.structure.figures "$(MNIST)"

.PHONY: figures-numbers
figures-numbers: install ## Measure what README claims of numbers (three hours; MNIST=... NETS=folder)
	@[ -f "$(MNIST)" ] && [ -n "$(NETS)" ] || { echo "Name MNIST, and a folder of the nets:" >&2; \
		echo "  make figures-numbers MNIST=/path/to/mnist.npz NETS=/path/to/folder" >&2; exit 1; }
	@[ -f "$(NETS)/lenet5.keras" ] || $(RUN) benchmarks.numbers.train_nets "$(MNIST)" "$(NETS)"
	@$(RUN) benchmarks.numbers.entropy "$(MNIST)" "$(NETS)"
	@$(RUN) benchmarks.numbers.deep_compression "$(MNIST)" "$(NETS)"/lenet300.keras "$(NETS)"/lenet5.keras
	@$(RUN) benchmarks.numbers.runnable "$(MNIST)" "$(NETS)"
	@$(RUN) benchmarks.numbers.quantization_aware "$(MNIST)" "$(NETS)"/lenet300.keras "$(NETS)"/lenet5.keras
	@for net in lenet300 lenet5; do \
		$(RUN) benchmarks.numbers.weight_quantization "$(NETS)/$$net.keras" "$(MNIST)" --divisor 255; \
		$(RUN) benchmarks.numbers.calibrations "$(NETS)/$$net.keras" "$(MNIST)" --divisor 255; \
	done
	@$(RUN) benchmarks.numbers.gradients "$(MNIST)" "$(NETS)"/lenet300.keras
	@$(RUN) benchmarks.numbers.exchange 53346
	@$(RUN) benchmarks.numbers.packing_speed 25

.PHONY: lock
lock: ## Resolve the dependencies anew (needs uv and the network; UPGRADE=--upgrade moves versions)
	@$(COMPILE) $(UPGRADE) --all-extras pyproject.toml -o requirements.lock
	@$(COMPILE) -c requirements.lock --extra postgres pyproject.toml -o deploy/requirements-api.lock
	@$(COMPILE) -c requirements.lock --extra postgres --extra worker pyproject.toml \
		-o deploy/requirements-worker.lock
	@echo setuptools | $(COMPILE) -c requirements.lock - -o deploy/requirements-build.lock

.PHONY: clean
clean: ## Remove .venv and caches (not .penjing, the service's data)
	@rm -rf $(VENV) build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
