# What people and CI run. `make up` on a fresh machine needs make and Python 3.11, 3.12 or 3.13, nothing else.

VENV := .venv
BIN := $(VENV)/bin
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
# The first Python that fits; say another with: make up PYTHON=/path/to/python3.12
PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,\
	$(shell $(python) -c '$(FITS)' 2>/dev/null && echo $(python))) python3)

# With it, each of Airflow's processes would compile a thousand modules anew at every start.
unexport PYTHONDONTWRITEBYTECODE

# For every Python that fits and every system, each file by its hash.
PIN = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade
# Without what requirements.txt has: what the local stack needs and production does not.
BESIDE = --custom-compile-command "make requirements" \
	$$(sed -nE 's/^([a-z0-9._-]+)(\[.*\])?==.*/--no-emit-package \1/p' requirements.txt)
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python

# The tests by cost: a folder of tests is in one of these two.
QUICK := $(addprefix tests/,unit sandbox contract store api airflow main_job)
REST := $(addprefix tests/,clients hostile stack browser installs chaos)
# Lanes side by side (tests/support/lanes.py). Of the quick ones more than two cores need, since much of it waits; of the
# others two, since each starts an Airflow of its own, and a third made it no quicker.
PYTEST = $(BIN)/pytest -n $(1) --dist loadscope --no-loadscope-reorder --durations 20
# CI's COVER=1 writes which lines of the package have run to .coverage. It costs two fifths more processor time.
COVERED = $(call PYTEST,4) $(if $(COVER),--cov --cov-report=)
# The one thing of QUICK that runs in both: with ten times as many examples.
PROPERTIES = $$(grep -rl hypothesis --include='test_*.py' $(QUICK))
timed = @begun=$$(date +%s); $(1); code=$$?; took=$$(($$(date +%s) - begun)); \
	echo "make $@ took $$((took / 60)) min $$((took % 60)) s."; exit $$code

.DEFAULT_GOAL := help
.PHONY: help up down status test test-rest test-all coverage bench chaos docs lint format requirements clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/.installed  ## Start everything on this machine, send one lead to all five integrations, show how it went
	@$(BIN)/leadcast up --demo

down:  ## End every process that `make up` has started; what it has stored stays
	@if [ -x $(BIN)/leadcast ]; then $(BIN)/leadcast down; else echo "Nothing is installed, so nothing runs."; fi

status: $(VENV)/.installed  ## Show what runs and where
	@$(BIN)/leadcast status

test: $(VENV)/.installed-dev  ## Run the tests that prove that it works
	$(call timed,$(COVERED) $(QUICK))

test-rest: $(VENV)/.installed-dev  ## Run those that take longer: other Airflows, a browser, deaths, attacks, many examples
	$(call timed,{ $(call PYTEST,2) $(REST); first=$$?; \
		$(call PYTEST,2) --hypothesis-profile long -m hypothesis $(PROPERTIES) && (exit $$first); })

test-all: test test-rest  ## Run every test

coverage: $(VENV)/.installed-dev  ## Show what `make test COVER=1` has covered, and hold it to the floor in pyproject.toml
	$(BIN)/coverage report --skip-covered --sort=cover

bench: $(VENV)/.installed-dev  ## Measure, and print the table (BENCH_QUICK=1: fewer repeats)
	$(BIN)/python -m bench

chaos: $(VENV)/.installed-dev  ## Stage every death, and judge what came of it (CHAOS="--soak": watch memory instead)
	$(BIN)/python -m chaos $(CHAOS)

lint: $(VENV)/.installed-dev  ## Check style, types, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: $(VENV)/.installed-dev  ## Write docs/settings.md, docs/errors.md and the tables of docs/security.md anew
	$(BIN)/python docs/generate_settings.py
	WRITE_DOCS=1 $(BIN)/pytest -q tests/store/test_errors.py tests/hostile/test_people.py

format: $(VENV)/.installed-dev  ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

requirements: $(VENV)/.uv  ## Pin the packages anew, from pyproject.toml
	$(PIN) pyproject.toml --extra celery -c requirements-limits.in -o requirements.txt
	$(PIN) pyproject.toml --extra local --extra celery -c requirements.txt $(BESIDE) -o requirements-local.txt
	sed -i.whole -e '/^# The following packages were excluded/,$$d' -e '/^$$/d' requirements-local.txt && rm requirements-local.txt.whole
	$(PIN) pyproject.toml --extra dev -c requirements.txt -c requirements-local.txt -o requirements-dev.txt
	$(PIN) requirements-build.in -c requirements-dev.txt -o requirements-build.txt

clean: down  ## End everything and remove all that `make` has made: packages, databases, logs
	rm -rf $(VENV) .leadcast .leadcast-bench .leadcast-chaos build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.uv: requirements-build.txt
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1 || true)."; \
		echo "Leadcast needs Python 3.11, 3.12 or 3.13 with venv (Debian, Ubuntu: apt install python3-venv)."; \
		echo "Say which one: make $(or $(MAKECMDGOALS),up) PYTHON=/path/to/python3.12"; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-build.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.uv requirements.txt requirements-local.txt pyproject.toml
	@echo "Installing packages …"
	@$(INSTALL) --require-hashes -r requirements.txt -r requirements-local.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing packages for development …"
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@
