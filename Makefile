# Xinglin. `make` or `make help` lists what there is; a line with two hashes explains its target.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
DATA ?= ../shared/data/ist/IST_corrected.csv.xz

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint types docs bench bench-validation conformance oracle evidence clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.test ## make .venv with everything that tests and tools need

demo: $(VENV)/.run ## see it run: sample patients, a CT study, a treatment suggestion; Ctrl-C stops it
	$(BIN)/xinglin demo $(ARGS)

serve: $(VENV)/.run ## run the server on ./data
	$(BIN)/xinglin serve $(ARGS)

test: $(VENV)/.test ## run all tests (ARGS="-k search" for some, JOBS=1 for one at a time)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/.test ## check style and the walls of the house (ruff, import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.test ## check types (mypy, strict)
	$(BIN)/mypy

docs: $(VENV)/.run ## write the generated pages of docs/ anew
	$(BIN)/python -m tools.configuration_page
	$(BIN)/python -m tools.code_map
	$(BIN)/python -m tools.cds_requirements_page
	$(BIN)/python -m tools.conformance_page
	$(BIN)/python -m tools.rules_table

bench: $(VENV)/.test ## measure this server beside the floor, in one run
	$(BIN)/python -m conformance.benchmarks $(ARGS)

bench-validation: $(VENV)/.test ## measure validation and FHIRPath as ratios to json.loads, in one run
	$(BIN)/python -m tools.bench_validation $(ARGS)

conformance: $(VENV)/.test ## run the tests that hold a clause of a standard
	$(BIN)/python -m pytest -n $(JOBS) tests/spec tests/official $(ARGS)

oracle: $(VENV)/.test ## hold 20,000 random searches against an independent reading (XINGLIN_ORACLE_SEED=7)
	XINGLIN_ORACLE_QUERIES=20000 XINGLIN_ORACLE_PATIENTS=all $(BIN)/python -m pytest -s tests/properties/test_search_oracle.py $(ARGS)

evidence: $(VENV)/.test ## run the gates of individual effects in full and record them (tens of minutes; DATA=IST_corrected.csv.xz)
	OPENBLAS_NUM_THREADS=1 nice -n 10 $(BIN)/python -m cds_hooks.training international-stroke-trial --data $(DATA) --evidence $(ARGS)

clean: ## remove .venv and caches; data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.run
