# Evergreen on one machine. 'make help' says what there is.
SHELL := /bin/sh
PYTHON := .venv/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins
# An inherited PYTHONDONTWRITEBYTECODE would make every start of Airflow twice as slow.
unexport PYTHONDONTWRITEBYTECODE

WORKERS := 2

# 'make demo ENGINE=docker' makes an installation whose builds are images and whose servers are containers.
ifdef ENGINE
export EVERGREEN_ENGINE := $(ENGINE)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast up down status check bench pictures docs lock clean compose-env

help: ## show what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## make .venv from the lock (the other targets do it by themselves)
	@bin/setup

demo: setup ## play the whole loop on a year of real flights; the platform stays up to explore
	@$(PYTHON) -m demo $(DEMO)

test: setup ## run all tests, two at a time; TESTS=<file> runs some of them, WORKERS=0 one after the other
	@$(PYTHON) -m pytest -n $(WORKERS) --no-loadscope-reorder $(TESTS)

test-fast: setup ## run the tests that need no running services: for every save
	@$(PYTHON) -m pytest -n $(WORKERS) tests/unit tests/dags

up: setup ## start the platform
	@$(PYTHON) -m include.embedded up

down: setup ## stop every process that the platform started
	@$(PYTHON) -m include.embedded down

status: setup ## show how each part of the platform is
	@$(PYTHON) -m include.embedded status

check: setup ## lint, types, import directions
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

compose-env: setup ## make the secrets of compose.yaml, in .env.compose; see docs/compose.md
	@$(PYTHON) -m include.embedded.compose env

pictures: setup ## take the pictures of the README from the running platform (wants Chromium)
	@$(PYTHON) -m docs.pictures

bench: setup ## measure speed, as ratios against baselines in the same run
	@$(PYTHON) -m benchmarks

docs: setup ## write the pages and dashboards that are made from the code
	@$(PYTHON) -m docs.generate
	@$(PYTHON) -m include.observability.grafana.generate

lock: setup ## resolve requirements*.txt again into requirements.lock; versions it already has stay
	@UV_SYSTEM_CERTS=1 .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		requirements-dev.txt --output-file requirements.lock --custom-compile-command "make lock"

clean: setup ## stop the platform and remove all its state (.evergreen)
	@$(PYTHON) -m include.embedded clean
