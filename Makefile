# Every target makes the virtual environment it needs. PYTHON=... chooses the interpreter, TESTS=... and ARGS=... narrow a run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
STAMP := $(VENV)/.streamrec-stamp
BIN := $(VENV)/bin
PYTHON ?=
TESTS ?=
ARGS ?=
# Tests that wait for a broker and tests that compute share a machine well: two at a time, each worker with its own broker.
WORKERS ?= 2

.PHONY: help setup check format unit test demo bench bench-sharding clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment with everything installed

$(STAMP): pyproject.toml setup.py services/__init__.py
	@python=""; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3 python); do \
	  if command -v "$$candidate" >/dev/null 2>&1 \
	    && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: streamrec needs Python 3.11 or newer, and none was found; install one or run 'make PYTHON=/path/to/python3.11 ...'" >&2; \
	  exit 1; \
	fi; \
	if ! "$(BIN)/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  echo "setup: making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear "$(VENV)" || { \
	    echo "error: $$python cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; exit 1; }; \
	fi; \
	echo "setup: installing streamrec and its tools into $(VENV)"; \
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check: $(STAMP) ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit: $(STAMP) ## The fast tests only: no broker
	$(BIN)/python -m pytest -m "not kafka" $(ARGS) $(TESTS)

test: check ## Checks and the whole suite: unit, runtime and real Kafka
	@echo "compiling the kernels (two to five minutes, once)"
	@$(BIN)/python -m services.cli.warm
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS) $(TESTS)

demo: $(STAMP) ## Start a broker and the services, replay a shop's stream, show what is learned; about a minute
	$(BIN)/streamrec demo $(ARGS)

bench: $(STAMP) ## Measure the system on real Kafka against a bare pass-through
	$(BIN)/python -m tests.benchmarks.pipeline $(ARGS)

bench-sharding: $(STAMP) ## Measure what sharding costs: divergence, bytes per event; ARGS="--events FILE ..." quality
	$(BIN)/python -m tests.benchmarks.sharding $(ARGS)

clean: ## Remove the virtual environment, caches and build output
	rm -rf "$(VENV)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +
