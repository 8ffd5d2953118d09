SHELL := /bin/bash -o pipefail
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
# what table 2 needs, and what the tests, linters and documentation need besides
BASE := .venv/base
READY := .venv/ready
INSTALLED := pyproject.toml constraints.txt $(wildcard kernels/CMakeLists.txt kernels/src/*)

RUN = $(BIN)/python reproductions
# the tables that a sweep measures
SWEEPS = $$($(BIN)/python -m invconv list --sweeps)
# not the word that make looks for: it runs a line with that even under `make -n`
SUBMAKE = $(MAKE) --no-print-directory

.PHONY: help setup table2 results results-full tiny test test-full lint benchmark docs
# what follows ## behind a target, minutes on two cores
help: ## this list
	@echo "minutes on two cores; the first of them also installs, see setup"
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

define install
	@echo "Installing into .venv, once: torch, other packages that constraints.txt pins, and the C++"
	@echo "kernels; 2 GB on disk, several GB more with torch's CUDA build. It takes minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable "$(1)"
endef

$(BASE): $(INSTALLED)
	$(call install,.)
	touch $(BASE)

$(READY): $(INSTALLED)
	$(call install,.[dev])
	touch $(BASE) $(READY)

setup: $(READY) ## about 5: installs into .venv, 2 GB and more

table2: $(BASE) ## about 8: every method on two data sets, the table in the terminal
	$(BIN)/python reproductions/table2.py -m

# Both resume where they stopped, and continue after a benchmark that failed or a sweep whose cells
# are not all ok. Two pages have commands of their own: test-full makes trust.md, slurm/faults.py
# makes faults.md.
results: setup ## about 150: the quick preset of every table, and their pages
	code=0; for file in runs/benchmark.json runs/cuda_resources; do \
	  $(SUBMAKE) $$file || code=1; done; \
	for sweep in $(SWEEPS); do $(RUN)/$$sweep.py -m || code=1; done; \
	if [ -e runs/benchmark.json ]; then \
	  $(BIN)/python -m invconv report --from-benchmark runs/benchmark.json || code=1; fi; \
	$(BIN)/python -m invconv report --readme || code=1; exit $$code

runs/benchmark.json: | setup
	mkdir -p runs
	$(BIN)/python -m pytest --benchmark-only --benchmark-json=$@ tests/benchmarks

runs/cuda_resources: | setup
	$(BIN)/python -m invconv bench cuda_resources
	mkdir -p runs && touch $@

results-full: setup ## days without a GPU: the sizes of the papers
	code=0; $(SUBMAKE) results || code=1; \
	$(RUN)/table2.py -m preset=paper part=time || code=1; \
	for sweep in table3 table4 figure4; do $(RUN)/$$sweep.py -m preset=paper || code=1; done; \
	$(BIN)/python -m invconv report --readme || code=1; exit $$code

tiny: setup ## about 7: the smallest preset of every table, no rows are kept
	for sweep in $(SWEEPS); do $(RUN)/$$sweep.py -m preset=tiny force=true || exit 1; done

# a process for each core, all of which collect the same tests in the same order; threads that spin
# while they wait would slow the others down
test: setup ## about 10: the tests but the slow ones
	GOMP_SPINCOUNT=0 PYTHONHASHSEED=0 PYTHONWARNDEFAULTENCODING=1 \
	  $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
	  -m "not slow and not gpu" --junitxml runs/trust/quick.xml

# under coverage, and with the page results/trust.md
test-full: setup ## about 75: all tests, with coverage and results/trust.md
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m "not gpu" --hypothesis-profile full \
	  --junitxml runs/trust/full.xml; code=$$?; \
	$(BIN)/python -m coverage combine --quiet && \
	$(BIN)/python -m coverage json --quiet -o runs/trust/coverage.json && \
	$(BIN)/python tests/trust.py runs/trust || code=1; exit $$code

lint: setup ## about 1: ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a link that leads nowhere, or a name without a docstring, is an error
docs: setup ## about 1: the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

benchmark: setup ## about 4: every layer and solver method by pytest-benchmark
	rm -f runs/benchmark.json
	$(MAKE) runs/benchmark.json
