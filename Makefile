# Everything that a newcomer needs: `make demo`, `make test`, `make serve`. Each sets up what it
# needs in .venv, from the versions pinned in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 5 # processes that run tests; many tests wait longer than they work
# A test that loses a race on a busy CI machine has one more try; its traceback is printed all the same.
RERUNS := $(if $(CI),--reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(RERUNS)

# Tests start Python hundreds of times; what it has compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve test node-tools test-postgres coverage check bench format clean
.DEFAULT_GOAL := help

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(READY) ## Show the main job: no key, no network; stays up until Ctrl-C
	@$(BIN)/luma-tracker demo

serve: $(READY) ## Run the service (settings: environment or .env)
	@$(BIN)/luma-tracker serve

test: $(READY) ## Run the tests, on both databases; CI=1: also what takes long
	@echo "testing on SQLite, then on PostgreSQL; this takes some minutes"
	@$(PYTEST) tests
	@$(PYTEST) --database postgres tests

node-tools: ## Install what some tests need from npm: the MCP conformance suite, Spectral
	@npm install --prefix tests/node --no-package-lock --no-audit --no-fund --loglevel=error

test-postgres: $(READY) ## Run what touches a database on another PostgreSQL: PROGRAMS=/usr/lib/postgresql/15/bin
	@test -x "$(PROGRAMS)/postgres" || { echo "PROGRAMS: no postgres in '$(PROGRAMS)'"; exit 1; }
	@$(PYTEST) --postgres "$(PROGRAMS)" --everything tests

coverage: $(READY) ## Run the tests, and show what they do not reach; takes twice as long
	@$(BIN)/coverage erase
	@CI=1 $(PYTEST) --cov --cov-report= tests
	@CI=1 $(PYTEST) --cov --cov-report= --cov-append --database postgres tests
	@$(BIN)/coverage report

check: $(READY) ## Lint, types, import rules, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

bench: $(READY) ## Measure how fast it is, in ten minutes; QUICK=1: in two, CHECK=1: fail below a floor
	@$(BIN)/python -m benchmarks.speed $(if $(QUICK),--quick) $(if $(CHECK),--check)

format: $(READY) ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was set up and made
	rm -rf $(VENV) .pytest_cache .coverage* .hypothesis .mypy_cache .ruff_cache .import_linter_cache

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "setting up $(VENV) (once; a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@
