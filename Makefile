# From a fresh clone: `make demo` shows what the project does, `make test` checks it. `make help` lists the rest.

# Run every check even where an earlier one failed: one run then shows all that is wrong.
MAKEFLAGS += --keep-going --no-print-directory

NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Two workers with one thread each: with more threads than cores they wait for each other, twenty times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# A virtual environment does not survive a move (its scripts name their folder) or the loss of its Python.
USABLE := $(shell $(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && grep -qF "$(CURDIR)/$(BIN)" $(BIN)/pip 2>/dev/null && echo yes)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint ruff-check ruff-format pyright lint-imports pytest-quick pytest-all \
	format clean $(if $(USABLE),,$(STAMP))

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(STAMP)  ## make .venv and install the project with its development tools

$(STAMP): pyproject.toml
	@$(or $(PYTHON),false) -c '$(NEW_ENOUGH)' || { \
	  echo "umanet needs Python 3.11 or newer with its venv module; found: $$(python3 --version 2>&1)." \
	    "Install one (Debian: also python3-venv), or name one: make install PYTHON=/path/to/python3.12"; exit 1; }
	@$(if $(USABLE),,echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear $(VENV))
	@echo "Installing umanet and its tools into $(VENV) (the first time a minute or more, about 2 GB)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install  ## train on a phantom data set with five annotators and grade them; makes demo/ anew
	@rm -rf demo
	@$(BIN)/umanet demo --output demo

test: lint pytest-quick  ## ruff, pyright, import-linter and the quick tests

test-all: lint pytest-all  ## the same with the slow tests

lint: ruff-check ruff-format pyright lint-imports  ## ruff, pyright and import-linter

ruff-check: install
	@echo "== ruff check"
	@$(BIN)/ruff check

ruff-format: install
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check

pyright: install
	@echo "== pyright"
	@$(BIN)/pyright

lint-imports: install
	@echo "== lint-imports"
	@$(BIN)/lint-imports --no-logo

pytest-quick: install
	@echo "== pytest (quick)"
	@$(PYTEST) -m "not slow and not gpu"

pytest-all: install
	@echo "== pytest (all)"
	@$(PYTEST)

format: install  ## let ruff mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean:  ## remove .venv, caches and demo/
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
