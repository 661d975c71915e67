# Everything a user or a contributor runs. A fresh machine needs python3 (3.11 or newer) and make;
# each target sets up .venv by itself the first time, and again when pyproject.toml changes.

PYTHON ?= python3
PYTEST ?= -n 2
BENCH ?=
VALIDATE ?=

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TYPED := benchmarks/measured $(addprefix benchmarks/,command.py lowered.py peers.py ranking.py run.py \
	simulate_speed.py small.py validate.py)
LINTED := nkigen_lite solver cost_models tests examples $(wildcard benchmarks)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format bench validate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  variables: PYTHON=python3.12  PYTEST='-n 0 -k layer'  BENCH='arguments of benchmarks/run.py'"

setup: $(READY) ## create .venv and install the project into it

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "nkigen-lite needs Python 3.11 or newer: install one, or name it: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot create a virtual environment: it lacks venv or ensurepip." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## compile, run and explain an example, without hardware
	@$(PY) examples/demo.py

# Lint first: pytest's closing line, which counts what ran, is then the last thing shown.
test: lint ## lint, type check and every test, the slow ones last
	@$(PY) -m pytest $(PYTEST)

test-fast: $(READY) ## the tests without those marked slow
	@$(PY) -m pytest -m "not slow" $(PYTEST)

lint: $(READY) ## ruff check, ruff format --check, mypy --strict
	@$(PY) -m ruff check --quiet $(LINTED)
	@$(PY) -m ruff format --quiet --check $(LINTED)
	@$(PY) -m mypy --strict --no-error-summary
	@$(PY) -m mypy --strict --no-error-summary --explicit-package-bases $(TYPED)

format: $(READY) ## rewrite the sources in the project's format
	@$(PY) -m ruff check --quiet --fix $(LINTED)
	@$(PY) -m ruff format --quiet $(LINTED)

bench: $(READY) ## compile the benchmark kernels; docs/benchmarks.md lists the other benchmarks
	@$(PY) benchmarks/run.py $(BENCH)

validate: $(READY) ## compare predictions with published hardware measurements
	@$(PY) benchmarks/validate.py $(VALIDATE)

clean: ## remove .venv, caches and what runs leave behind
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
