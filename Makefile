PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
READY := $(VENV)/.ready
# `dagster job execute` announces its successor `dg launch` on every call.
QUIET := PYTHONWARNINGS="ignore:Function"
# Dagster reads .env, too.
-include .env

.PHONY: setup demo test test-long versions lint settings ui bench

# Commands that are the first to open Dagster's instance, and start at once, could break it.
setup: $(READY)
	$(VENV)/bin/python -m isles_assets.graph.instance

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

# The config puts the demo on the sample and the local target, whatever the environment and .env say.
demo: setup
	$(QUIET) $(VENV)/bin/dagster job execute -m isles_assets -j build -c demo.yaml
	$(VENV)/bin/isles24 summary $(or $(ISLES_DATA_DIR),data)/hub/hugging-science/isles24-stroke

test: $(READY)
	$(VENV)/bin/python -m pytest -m "not long"

# The longest ones. That of a cluster needs EXTRAS=dev,cluster and PostgreSQL, and is skipped without.
test-long: $(READY)
	$(VENV)/bin/python -m pytest -m long

# Pinned and lowest versions on Python 3.11 to 3.13, as found. Options: make versions PYTEST='-m "not slow"'
versions:
	.ci/versions $(PYTEST)

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

# .env.example and the settings in README and guide, from their declarations.
settings: $(READY)
	$(VENV)/bin/python docs/settings.py

# With DAGSTER_MODULE_NAME set, Dagster's webserver never comes up.
ui: setup
	env -u DAGSTER_MODULE_NAME $(VENV)/bin/dagster dev

# Linux only; takes about 45 minutes, on a machine that does nothing else. Options: make bench BENCH='--work /a/disk'
bench: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(VENV)/bin/python -m benchmarks $(BENCH)
