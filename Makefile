PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
READY := $(VENV)/.ready
# Dagster reads .env, too.
-include .env
DATA := $(or $(ISLES_DATA_DIR),data)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test test-long coverage lint reference docs versions bench clean reset-demo

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS='	' read -r name does; do printf 'make %-11s %s\n' "$$name" "$$does"; done

# Commands that are the first to open Dagster's instance, and start at once, could break it.
setup: $(READY)  ## the environment .venv, whose `activate` lets Dagster's commands find this project, and their history
	@$(VENV)/bin/python -m isles_assets.graph.instance

$(READY): pyproject.toml constraints.txt isles_assets/graph/environment.py
	@echo "Setting up $(VENV): a minute or two."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[$(EXTRAS)]'
	@$(VENV)/bin/python -m isles_assets.graph.environment $(VENV)
	@touch $@

demo: $(READY)  ## the whole graph on a synthetic sample, in a minute or two
	@$(VENV)/bin/python -m isles_assets.graph.demo $(DATA)

# Where DAGSTER_MODULE_NAME was set for other commands, Dagster's webserver would not come up.
ui: setup  ## Dagster's UI at http://localhost:3000
	@env -u DAGSTER_MODULE_NAME $(VENV)/bin/python -m isles_assets.graph.environment $(VENV) dagster dev

test: $(READY)  ## most tests: each claim in its cheapest form
	$(VENV)/bin/python -m pytest -m "not long"

# That of a cluster needs EXTRAS=dev,cluster and PostgreSQL, and is skipped without.
test-long: $(READY)  ## the tests that take longer
	$(VENV)/bin/python -m pytest -m long

coverage: $(READY)  ## the tests again, and the lines that none of them reaches
	@$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest -m "not long"
	@$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

lint: $(READY)  ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

reference: $(READY)  ## .env.example, and what the docs say of graph, settings, checks and commands, from the code
	$(VENV)/bin/python docs/reference.py

# Options: make versions PYTEST='-m "not slow"'
versions:  ## tries pinned and lowest versions on Python 3.11 to 3.13, as found
	.ci/versions $(PYTEST)

# Mermaid, which draws the diagrams, is asked of unpkg.com by who reads the site, or copied from a file:
# make docs MERMAID=/path/to/mermaid.min.js
docs: $(READY)  ## the pages as a site, in site/; fails where a link leads nowhere or a page is missing from the menu
	@[ -x $(VENV)/bin/mkdocs ] || $(PIP) --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 MERMAID='$(abspath $(MERMAID))' $(VENV)/bin/mkdocs build --clean

# Linux only, on a machine that does nothing else. Options: make bench BENCH='--work /a/disk'
bench: $(READY)  ## measures speed and memory, with 30 GB of disk, and writes docs/benchmarks.md
	$(PIP) --editable '.[bench]'
	$(VENV)/bin/python -m benchmarks $(BENCH)

# Where ISLES_DATA_DIR lies in one of these, it stays.
FOUND = $(wildcard .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache build dist site *.egg-info .tmp_dagster_home_*)
REMOVED = $(foreach name,$(FOUND),$(if $(filter $(abspath $(name))/%,$(abspath $(DATA))/),,$(name)))
clean:  ## removes what tools and builds leave behind; not .venv, .env, the data folder, nor the history in .dagster
	@for name in $(REMOVED); do echo "removing $$name"; rm -rf "$$name"; done
	@find . \( -path ./$(VENV) -o -path ./.git -o -path ./$(DATA) \) -prune -o -name __pycache__ -prune -exec rm -rf {} +
	@echo "removed __pycache__ folders; kept $(VENV), $(DATA), .dagster, .env"

reset-demo: $(READY)  ## removes the sample and what was made of it; refuses where anything else is in the data folder
	@$(VENV)/bin/python -m isles_assets.cli reset-demo $(DATA)
