# The only task runner. Needs make and Python 3.11 or newer; `make requirements` also needs uv.

VENV ?= .venv
PYTHON ?=
PYTEST_ARGS ?=
UPGRADE ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
PEERS := .venvs/peers
PYTHONS := 3.11 3.12 3.13
TYPED := $(wildcard src tests/typing benchmarks)

# Pyright comes whole in its wheel, and its Node.js in another: neither may be looked for on the network.
export PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport PYRIGHT_PYTHON_FORCE_VERSION
unexport PYRIGHT_PYTHON_PYLANCE_VERSION
export VALIDATE_PYPROJECT_NO_NETWORK := 1

# Wheels only: building a source distribution would fetch build tools that no hash covers.
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --no-input --require-hashes --only-binary :all:
INSTALL_SELF := $(PY) -m pip install -qq --disable-pip-version-check --no-input --no-index --no-deps \
	--no-build-isolation --editable .
COMPILE := uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	--custom-compile-command "make requirements" $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help demo dev test test-fast lint format types pytest coverage bench test-all matrix extras docs generate \
	requirements clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

demo: $(CORE) ## a shop's day on made-up data: no keys, no network
	@PROVIDER_MODE=demo $(BIN)/providers tour

dev: $(DEV) ## set up the development environment

test: lint types pytest ## everything that must pass before a commit

test-fast: $(DEV) ## the tests only, up to the first failure
	$(PY) -m pytest -x $(PYTEST_ARGS)

lint: $(DEV) ## style, spelling, metadata, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/lint-imports

format: $(DEV) ## repair what lint finds, where a tool can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(DEV) ## mypy and pyright, both strict
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright --pythonpath $(PY)

pytest: $(DEV)
	$(PY) -m pytest $(PYTEST_ARGS)

coverage: $(DEV) ## the tests, with what they did not reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(DEV) $(PEERS)/.installed ## benchmarks: ratios within one run
	PEERS=$(PEERS) $(PY) -m benchmarks

test-all: lint types matrix extras ## the tests on every Python found, and every extra installed alone

matrix: ## the tests on every Python found
	@ran=; for version in $(PYTHONS); do \
		if python=$$(scripts/find-python.sh --version $$version); then \
			echo "== Python $$version"; \
			$(MAKE) --no-print-directory VENV=.venvs/$$version PYTHON="$$python" pytest || exit 1; \
			ran="$$ran $$version"; \
		else \
			echo "== Python $$version: not found, NOT TESTED"; \
		fi; \
	done; echo "Tested on Python:$$ran"

extras: $(DEV) ## every extra installed alone
	$(PY) scripts/extras_alone.py

docs: $(DEV) ## regenerate the generated parts of the documentation
	$(PY) scripts/generate_docs.py

generate: $(DEV) ## rewrite the blocking twins of the asynchronous classes
	$(PY) scripts/generate_sync.py

requirements: ## pin what the .in files and pyproject.toml ask for (UPGRADE=1: newest of everything)
	$(COMPILE) --all-extras pyproject.toml requirements/build.in requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) --constraints requirements/dev.txt pyproject.toml requirements/build.in --output-file requirements/core.txt
	$(COMPILE) requirements/peers.in --output-file requirements/peers.txt

clean: ## remove caches and build results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist
	find src tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the environments
	rm -rf $(VENV) .venvs

$(PY):
	@python=$$(scripts/find-python.sh $(PYTHON)) && "$$python" -m venv $(VENV)

# Both install into one environment, in either order: core.txt holds the same pins as dev.txt.
$(CORE): requirements/core.txt pyproject.toml | $(PY)
	@echo "Setting up $(VENV): the package and what it depends on"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@$(INSTALL) --requirement requirements/core.txt
	@$(INSTALL_SELF)
	@touch $@

$(DEV): requirements/dev.txt requirements/core.txt pyproject.toml | $(PY)
	@echo "Setting up $(VENV): the development tools (a minute or two, once)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@$(INSTALL) --requirement requirements/dev.txt
	@$(INSTALL_SELF)
	@touch $(CORE) $@

# Somebody else's package with three dozen dependencies: not beside ours.
$(PEERS)/.installed: requirements/peers.txt | $(PY)
	@echo "Setting up $(PEERS): what benchmarks compare with"
	@$(PY) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes \
		--only-binary :all: --requirement requirements/peers.txt
	@touch $@
