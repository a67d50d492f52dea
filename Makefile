# Everything that a checkout can do. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

# Python 3.11 or newer; choose another with `make PYTHON=/path/to/python3.12 ...`. 3.11 and 3.12 come
# first: for them every part is a finished wheel, later ones compile Redis (half a minute, needs cc).
PYTHON ?= $(shell for below in 13 99; do \
	for p in python3 python3.12 python3.11 python3.13 python3.14 python; do \
	$$p -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, $$below))" 2>/dev/null \
	&& echo $$p && exit; done; done)

BIN := .venv/bin
STAMP := .venv/.installed
XDS_STAMP := .venv-xds/.installed
PIP_INSTALL := -m pip install --disable-pip-version-check --progress-bar on
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --universal --python-version 3.11
PROTOS := $(wildcard proto/envoyapi/*.proto)
TESTS ?= tests
# Properties are tried on ten examples in a run of some tests, on a hundred in a run of all.
THOROUGH = $(if $(filter tests,$(TESTS)),--hypothesis-profile=thorough)
SECONDS ?= 120

.PHONY: help setup demo up test lint format bench bench-peers chaos lock proto clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## virtual environment with locked, hashed dependencies and ourselves

$(STAMP): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; name one: make PYTHON=..." >&2; exit 1; }
	@echo "==> 1/3 virtual environment .venv ($(PYTHON))"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment (is its venv module installed?)" >&2; exit 1; }
	@echo "==> 2/3 locked dependencies (two minutes or so on the first run)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	@echo "==> 3/3 tollkeeper itself"
	@$(BIN)/python $(PIP_INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The official stubs of Envoy's API, which cannot share an environment with the Envoy wheel.
$(XDS_STAMP): requirements/xds.lock | $(STAMP)
	@echo "==> official stubs of Envoy's API, in .venv-xds"
	@test -x .venv-xds/bin/python || $(BIN)/python -m venv .venv-xds
	@.venv-xds/bin/python $(PIP_INSTALL) --require-hashes -r requirements/xds.lock
	@touch $@

demo: setup ## paid requests through real Envoy, Postgres and Redis until the credits run out
	@$(BIN)/tollkeeper demo

up: setup ## the same stack in the foreground, until Ctrl-C
	@$(BIN)/tollkeeper up

test: setup $(XDS_STAMP) ## every test; some with TESTS="tests/unit", one run of faults with CHAOS_SEED=7
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(TESTS) $(THOROUGH)

chaos: setup ## parts killed, flushed, stopped, then exact books; SECONDS=600 SEED=7
	@$(BIN)/python -m tests.chaos.run --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

lint: setup ## formatter, linter, type checker, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## let the formatter and the linter repair what they can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## the benchmark, side by side, as ratios
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

bench-peers: setup ## the same load against peers that can be installed
	@$(BIN)/python -m bench peers $(if $(QUICK),--quick)

lock: $(STAMP) ## compile requirements/*.in again (UPGRADE=--upgrade to move versions)
	@for name in runtime dev xds; do \
		echo "==> requirements/$$name.lock"; \
		(cd requirements && ../$(LOCK) $(UPGRADE) $$name.in -o $$name.lock) || exit 1; done

proto: setup ## compile proto/ into src/envoyapi
	@$(BIN)/python proto/compile.py src

clean: ## remove environments, caches and the data of stopped stacks
	@test ! -e .run/stack.json || { echo "a stack is running (.run/stack.json): stop it first" >&2; exit 1; }
	rm -rf .venv .venv-xds .run build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
