# Everything runs from a fresh clone: each target makes or refreshes .venv first. Nothing outside this folder is changed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install demo console backend-demo test check simulate rebuild frontends chaos loss bench clean

VENV    := .venv
PYTHON  := $(VENV)/bin/python
STAMP   := $(VENV)/installed

WORKERS ?= 3
SEEDS   ?= 2000
RUNS    ?= 1000
KILLS   ?= 50
ENTRIES ?= 100000
ARGS    ?=

# What a shell around us may have set for another project.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-20s%s\n", $$1, $$2}'

install: $(STAMP) ## make or refresh .venv

demo: $(STAMP) ## the main job on real input (DSN=... APPROVER_DSN=... MODEL=openai:...)
	@$(PYTHON) -m demo \
	  $(if $(DSN),--dsn '$(DSN)') $(if $(APPROVER_DSN),--approver-dsn '$(APPROVER_DSN)') $(if $(MODEL),--model '$(MODEL)') $(ARGS)

console: $(STAMP) ## the demo's agent with three requests waiting, and the console to decide them in
	@$(PYTHON) -m demo.console $(ARGS)

backend-demo: $(STAMP) ## a three-day run as one trace in Arize Phoenix, in a .venv-backends of its own (Elastic licence; ARGS="--stay")
	@test -x .venv-backends/bin/phoenix || { echo "Installing Phoenix into .venv-backends (some minutes) ..."; \
	  $(PYTHON) -m venv .venv-backends && .venv-backends/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1' \
	  && .venv-backends/bin/python -m pip install --quiet --disable-pip-version-check --group backends; }
	@$(PYTHON) -m demo.backend $(ARGS)

test: $(STAMP) ## the test suite on a real Postgres (WORKERS=3 ARGS="-k name")
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: $(STAMP) ## lint, format, types, import rules
	@echo "ruff check";       $(PYTHON) -m ruff check --quiet .
	@echo "ruff format";      $(PYTHON) -m ruff format --quiet --check .
	@echo "mypy";             $(PYTHON) -m mypy --no-error-summary -p langgraph_control && $(PYTHON) -m mypy --no-error-summary tests $(wildcard demo bench)
	@echo "pyright";          $(PYTHON) -m pyright
	@echo "import-linter";    $(VENV)/bin/lint-imports --no-cache

simulate: $(STAMP) ## the real gate over the real SQL under seeded faults (SEEDS=20000)
	@$(PYTHON) -m tests.simulation --seeds $(SEEDS) $(ARGS)

rebuild: $(STAMP) ## 1,000 simulated runs rebuilt from the trail alone, and compared (RUNS=1000)
	@$(PYTHON) -m tests.simulation --rebuild $(RUNS) $(ARGS)

frontends: $(STAMP) ## LangGraph's own server with served graphs, in a .venv-server of its own (Elastic licence)
	@test -x .venv-server/bin/langgraph || { $(PYTHON) -m venv .venv-server && .venv-server/bin/python -m pip install --quiet \
	  --disable-pip-version-check 'pip>=25.1' && .venv-server/bin/python -m pip install --quiet --disable-pip-version-check \
	  -e '.[local]' --group dev --group server; }
	@.venv-server/bin/python -m pytest tests/frontends $(ARGS)

chaos: $(STAMP) ## real processes, kill -9, restarts; the billing service's log judges (KILLS=500)
	@$(PYTHON) -m tests.chaos --kills $(KILLS) $(ARGS)

loss: $(STAMP) ## 100,000 entries to a sink, the exporter killed at every step (ENTRIES=100000)
	@$(PYTHON) -m tests.loss --entries $(ENTRIES) $(ARGS)

bench: $(STAMP) ## cost against the hand-written floor
	@$(PYTHON) -m bench $(ARGS)

clean: ## remove .venv and what tools left behind
	@rm -rf $(VENV) .venv-server .venv-backends dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that really runs and brings venv: version managers leave commands on the PATH that only print an error.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' >/dev/null 2>&1; then \
	  found=; \
	  for name in python3.13 python3.12 python3.11 python3; do \
	    if $$name -c 'import sys, ensurepip, venv; assert sys.version_info >= (3, 11)' >/dev/null 2>&1; then found=$$name; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make: no Python 3.11 or newer with venv on the PATH (tried python3.13, 3.12, 3.11, python3)." >&2; exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version) ..."; \
	  $$found -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing into $(VENV) (about a minute the first time) ..."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,console]' --group dev
	@touch $@
