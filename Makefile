# Needs Python 3.11+ and make; everything else is installed into .venv.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
JOBS ?= 2

# Stamps: the last installation of each kind, repeated when pyproject.toml is newer.
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-test
COMPARABLE := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-bench bench check docs docs-write format format-check lint imports size types

help:  ## this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## train a network on a packaged data set
	$(VENV)/bin/fallline train breast-cancer

test: $(TESTABLE)  ## the test suite, without the slow tests
	$(PY) -m pytest -n $(JOBS) -q

# pytest's exit status 5: there is no such test.
test-slow: $(TESTABLE)  ## the slow tests
	$(PY) -m pytest -n $(JOBS) -q -m slow || [ $$? -eq 5 ]

# -W default: the other libraries' own warnings are theirs.
test-bench: $(TESTABLE) $(COMPARABLE)  ## the tests beside PyTorch, Optax and Keras (they are large)
	$(PY) -m pytest -q -W default tests/optim/test_peers.py tests/optim/test_table.py tests/interchange/test_pytorch.py

bench: $(COMPARABLE)  ## times beside the other libraries (they are large); about twenty minutes
	$(PY) -m benchmarks steps
	$(PY) -m benchmarks scaling
	$(PY) -m benchmarks compile
	$(PY) -m benchmarks first_fit

check: format-check lint imports size types test  ## everything that a commit must pass

docs: $(TESTABLE)  ## the course and the other pages as a site, in site/
	$(PY) -m mkdocs build --strict

docs-write: $(TESTABLE)  ## run the pages, and put what their code prints and draws into them
	$(PY) tools/run_docs.py --write

format: $(TESTABLE)  ## rewrite the code in the project's format
	$(PY) -m ruff check --select I --fix .
	$(PY) -m ruff format .

format-check: $(TESTABLE)
	$(PY) -m ruff format --check .

lint: $(TESTABLE)
	$(PY) -m ruff check .

imports: $(TESTABLE)
	$(VENV)/bin/lint-imports --no-logo

size: $(TESTABLE)
	$(PY) tools/check_size.py

types: $(TESTABLE)
	$(PY) -m mypy

# An environment that works is kept as it is, whoever made it.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fallline needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@touch $@

$(INSTALLED): $(VENV)/.made pyproject.toml
	@echo "Installing Fallline into $(VENV) (once, about a minute) ..."
	@$(PIP) -e .
	@touch $@

$(TESTABLE): $(VENV)/.made pyproject.toml
	@echo "Installing Fallline and its test tools into $(VENV) (once, a minute or two) ..."
	@$(PIP) -e ".[test]"
	@touch $@ $(INSTALLED)

$(COMPARABLE): $(VENV)/.made pyproject.toml
	@echo "Installing Fallline and the libraries that it is compared with into $(VENV) (once, a few minutes) ..."
	@$(PIP) -e ".[bench]"
	@touch $@
