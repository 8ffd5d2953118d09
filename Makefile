SHELL := /bin/bash -o pipefail
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help setup table2 tiny test test-full lint benchmark
help:
	@echo "make table2 | test | test-full | lint | benchmark | tiny"

$(READY): pyproject.toml constraints.txt $(wildcard kernels/CMakeLists.txt kernels/src/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[dev]"
	touch $(READY)

setup: $(READY)

table2: setup
	$(BIN)/python reproductions/table2.py -m

tiny: setup
	$(BIN)/python reproductions/table2.py -m preset=tiny force=true

test: setup
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-full: setup
	mkdir -p runs
	git describe --always --dirty --abbrev=10 > runs/test-full.commit
	$(BIN)/python -m pytest -m "not gpu" --hypothesis-profile full | tee runs/test-full.log; \
	code=$$?; \
	{ echo "# The last run of \`make test-full\`"; echo; \
	  echo "$$(date -u +%FT%TZ), commit $$(cat runs/test-full.commit):"; echo; \
	  tail -n 1 runs/test-full.log | tr -d '='; } > results/test-full.md; exit $$code

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: setup
	$(BIN)/python -m pytest --benchmark-only -s tests/benchmarks
