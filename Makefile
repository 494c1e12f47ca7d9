SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

# Where make app serves the page; empty: at app.address in params.yaml.
ADDRESS ?=
# The first supported Python that runs here.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13; do $$p -c '' 2>/dev/null && echo $$p && break; done)
# Whether an NVIDIA GPU answers; make setup GPU=1 installs for one that does not.
GPU ?= $(shell nvidia-smi -L 2>/dev/null | grep ^GPU)

OPTIONS := app dev docs faces cluster remote
UV_INSTALL := .venv/bin/uv pip install --compile-bytecode --python .venv/bin/python

.PHONY: setup repro test coverage lint crossval gpu app docs bench torture lock sbom faces cluster remote

repro: setup
	@dvc repro

test: $(OPTIONS:%=.venv/%)
	@pytest --numprocesses logical --maxprocesses 4 --dist worksteal

coverage: $(OPTIONS:%=.venv/%)
	@pytest --cov --cov-report=term:skip-covered

lint: .venv/dev .venv/app
	ruff format --check .
	ruff check .
	mypy

app: .venv/app
	@python -m web_app $(if $(ADDRESS),--address $(ADDRESS))

crossval: setup
	@python -m benchmarks.crossval

gpu: setup
	@python -m benchmarks.gpu

# The handbook in site/; a link that leads nowhere fails.
docs: .venv/docs
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# BENCH="--videos FOLDER --yunet FILE": real clips, and the model of the fastest detector
bench: repro .venv/cluster .venv/remote
	@python -m benchmarks $(BENCH)

torture: setup
	@python -m benchmarks.torture $(VIDEOS)

# After a change of a requirements file. Versions that are locked stay where they can: make lock UPGRADE=--upgrade
lock: .venv/bin/uv
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" $(UPGRADE) requirements*.txt --output-file requirements.lock

# What is installed, as a CycloneDX bill of materials. It is made by a program from outside the environment.
sbom: setup
	.venv/bin/uvx --from cyclonedx-bom==7.5.0 cyclonedx-py environment --pyproject pyproject.toml \
		--output-reproducible --output-file sbom.json .venv/bin/python

setup: .venv/installed

# The options, from the lock.
faces cluster remote: %: .venv/%

.venv/bin/uv: requirements.txt requirements.lock
	@test -n "$(PYTHON)" -o -x .venv/bin/python || { echo "Python 3.11, 3.12 or 3.13 is needed, and none is found"; exit 2; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --requirement <(sed -n '/^uv==/,/[^\\]$$/p' requirements.lock)
	touch $@

# PyPI's torch for Linux is a CUDA build: with NVIDIA's libraries 3 GB, which a machine without a GPU never uses. The CPU
# build has another index, which uv knows. The lock has no hash of it. Where that index cannot be reached, PyPI's build
# is installed without the two packages that it never loads on a CPU.
.venv/installed: .venv/bin/uv
	@if [ "$$(uname)" != Linux ] || [ -n "$(GPU)" ]; then \
		$(UV_INSTALL) --require-hashes --requirement requirements.txt --constraint requirements.lock; \
	elif $(UV_INSTALL) --no-deps --torch-backend cpu $$(grep -E '^(torch|torchvision)==' requirements.txt); then \
		$(UV_INSTALL) --requirement requirements.txt --constraint requirements.lock; \
	else \
		echo "The index of torch's CPU build cannot be reached: the CUDA build, which is larger, is installed instead"; \
		$(UV_INSTALL) --require-hashes --requirement requirements.txt --constraint requirements.lock \
			--excludes <(printf 'triton\nnvidia-cusolver\n'); \
	fi
	touch $@

$(OPTIONS:%=.venv/%): .venv/%: requirements-%.txt .venv/installed
	$(UV_INSTALL) --require-hashes --requirement $< --constraint requirements.lock
	touch $@
