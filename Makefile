# Evergreen on one machine. 'make help' lists the targets.
SHELL := /bin/sh
PYTHON := .venv/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins
# An inherited PYTHONDONTWRITEBYTECODE would double the time that Airflow needs to start.
unexport PYTHONDONTWRITEBYTECODE

WORKERS := 2

# 'make demo ENGINE=docker' creates an installation whose builds are images and whose servers are containers.
ifdef ENGINE
export EVERGREEN_ENGINE := $(ENGINE)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast coverage measures up down status restart passwords check bench trust attack chaos backup restore trace pictures docs lock clean compose-env

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## create .venv from the lock (the other targets run this first)
	@bin/setup

demo: setup ## play a year of real flights through the whole loop; the platform stays up afterwards
	@$(PYTHON) -m demo $(DEMO)

test: setup ## run all tests in two processes; TESTS=<file> selects some, WORKERS=0 runs them in one process
	@$(PYTHON) -m pytest -n $(WORKERS) --no-loadscope-reorder $(or $(TESTS),--cov --cov-report=)

test-fast: setup ## run the unit and Dag tests that start no processes, for the habit of every save
	@$(PYTHON) -m pytest -n $(WORKERS) -m "not integration" tests/unit tests/dags

coverage: setup ## run the tests that need no running services; list which lines of each file they do not execute
	@$(PYTHON) -m pytest -n $(WORKERS) --cov --cov-report=term-missing:skip-covered tests/unit tests/dags

up: setup ## start the platform
	@$(PYTHON) -m include.embedded up

down: setup ## stop the platform and every process it started
	@$(PYTHON) -m include.embedded down

status: setup ## show the health of each part and the state of each model; JSON=1 prints one JSON document
	@$(PYTHON) -m include.embedded status $(if $(JSON),--json)

restart: setup ## replace the model servers of MODEL=<name> by fresh ones of the same versions
	@$(PYTHON) -m include.embedded restart "$(MODEL)"

passwords: setup ## print the passwords of the web UI and MLflow
	@$(PYTHON) -m include.embedded passwords

check: setup ## lint, types, import directions
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

compose-env: setup ## create the secrets for compose.yaml in .env.compose; see docs/compose.md
	@$(PYTHON) -m include.embedded.compose env

pictures: setup ## take the README's screenshots of the running platform (needs Chromium)
	@$(PYTHON) -m docs.pictures

bench: setup ## measure speed and accuracy against baselines in the same run
	@$(PYTHON) -m benchmarks

trust: setup ## simulate how often each gate errs, also on real flights; WRITE=1 writes docs/trust.md, PART=canary plays one
	@$(PYTHON) -m benchmarks.trust $(PART) $(if $(WRITE),--write)

attack: setup ## play what a hostile commit would try, on both engines; prints a table
	@$(PYTHON) -m tests.attacks

backup: setup ## write everything that is needed to start again to FILE (default: ./backups); LAKE=1 takes the lake too
	@$(PYTHON) -m include.embedded backup $(if $(LAKE),--lake) "$(FILE)"

restore: setup ## restore a backup into a stopped installation: FILE=<archive>, ONLY=mlflow|evergreen|airflow for one part
	@$(PYTHON) -m include.embedded restore "$(FILE)" $(if $(ONLY),--only $(ONLY))

trace: setup ## find what an id came from, and what came of it: ID=<request, version, commit, ...>; MODEL=, KIND=, JSON=1
	@$(PYTHON) -m include.embedded trace $(if $(MODEL),--model "$(MODEL)") $(if $(KIND),--kind "$(KIND)") \
		$(if $(JSON),--json) -- "$(ID)"

chaos: setup ## inject faults into a platform under traffic; FAULTS=--short plays a few, WRITE=1 writes the table in docs
	@$(PYTHON) -m tests.chaos $(FAULTS) $(if $(WRITE),--write)

docs: setup ## write the pages and dashboards that are generated from the code
	@$(PYTHON) -m docs.generate
	@$(PYTHON) -m include.observability.grafana.generate

measures: setup ## measure the shape of the code; COMMITS="a668c4d" compares other commits with the working tree
	@$(PYTHON) -m docs.measures $(COMMITS)

lock: setup ## resolve requirements*.txt into requirements.lock; versions that are already locked stay
	@UV_SYSTEM_CERTS=1 .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		requirements-dev.txt --output-file requirements.lock --custom-compile-command "make lock"

clean: setup ## stop the platform and delete all its state (.evergreen)
	@$(PYTHON) -m include.embedded clean
