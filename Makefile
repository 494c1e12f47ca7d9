SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

ADDRESS ?= localhost
# The first supported Python that runs here.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13; do $$p -c '' 2>/dev/null && echo $$p && break; done)

.PHONY: setup repro test lint crossval gpu app

repro: setup
	@dvc repro

test: setup .venv/faces .venv/cluster .venv/remote
	@pytest

lint: setup
	ruff format --check .
	ruff check .
	mypy

app: setup
	@python -m web_app --address $(ADDRESS)

crossval: setup
	@python -m benchmarks.crossval

gpu: setup
	@python -m benchmarks.gpu

setup: .venv/installed

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" -o -x .venv/bin/python || { echo "Python 3.11, 3.12 or 3.13 is needed, and none is found"; exit 2; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet "$$(grep ^uv== requirements.txt)"
	.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python -r requirements.txt
	touch $@

.venv/faces .venv/cluster .venv/remote: .venv/%: requirements-%.txt .venv/installed
	.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python -r $<
	touch $@
