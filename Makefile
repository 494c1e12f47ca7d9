SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

ADDRESS ?= localhost

.PHONY: setup repro test lint crossval app

repro: setup
	@dvc repro

test: setup .venv/faces
	@pytest

crossval: setup
	@python -m benchmarks.crossval

app: setup
	@python -m streamlit run web_app/app.py --server.address $(ADDRESS)

lint: setup
	ruff format --check .
	ruff check .
	mypy

setup: .venv/installed

.venv/installed: requirements.txt
	test -x .venv/bin/python || python3.11 -m venv .venv
	.venv/bin/python -m pip install --quiet "$$(grep ^uv== requirements.txt)"
	.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python -r requirements.txt
	touch $@

.venv/faces: requirements-faces.txt .venv/installed
	.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python -r requirements-faces.txt
	touch $@
