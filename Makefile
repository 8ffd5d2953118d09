SHELL := /bin/bash -o pipefail
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

RUN = $(BIN)/python reproductions

.PHONY: help setup table2 results results-full tiny test test-full lint benchmark
help:
	@echo "make table2 | results | results-full | test | test-full | lint | benchmark | tiny"

$(READY): pyproject.toml constraints.txt $(wildcard kernels/CMakeLists.txt kernels/src/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[dev]"
	touch $(READY)

setup: $(READY)

table2: setup
	$(BIN)/python reproductions/table2.py -m

# Both go on where they stopped, and go on after a sweep whose cells are not all ok.
results: setup
	code=0; for sweep in table1 table2 table3 table4 figure4 accuracy scaling; do \
	  $(RUN)/$$sweep.py -m || code=1; done; \
	$(BIN)/python -m invconv report --readme; exit $$code

results-full: results
	code=0; $(RUN)/table2.py -m preset=paper_timing || code=1; \
	for sweep in table3 table4 figure4; do $(RUN)/$$sweep.py -m preset=paper || code=1; done; \
	$(BIN)/python -m invconv report --readme; exit $$code

tiny: setup
	for sweep in table2 table3 table4 figure4; do \
	  $(RUN)/$$sweep.py -m preset=tiny force=true || exit 1; done

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
	mkdir -p runs
	$(BIN)/python -m pytest --benchmark-only --benchmark-json=runs/benchmark.json tests/benchmarks
