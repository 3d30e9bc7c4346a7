# Every target works on a bare machine: the environment is made first when it is missing or pyproject.toml has changed.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: env demo test test-slow bench notebooks lint clean

env: $(STAMP)

$(STAMP): pyproject.toml
	@set -e; \
	for candidate in python3 python3.13 python3.12 "$$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "bayesgmm needs Python 3.12 or later; install it (pyenv install 3.13) and try again" >&2; exit 1; fi; \
	echo "making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --upgrade pip; \
	$(BIN)/python -m pip install --quiet --editable '.[dev]'; \
	touch $(STAMP)

demo: env
	$(BIN)/bayesgmm demo --out demo-out

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-slow: env
	$(BIN)/python -m pytest -n $(WORKERS) -m slow
	BAYESGMM_THOROUGH=1 $(BIN)/python -m pytest -n $(WORKERS) tests/test_properties.py

notebooks: env
	$(BIN)/python notebooks/execute.py

bench: env
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf $(VENV) demo-out bench-out .pytest_cache .mypy_cache .ruff_cache
