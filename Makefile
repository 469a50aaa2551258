# `make help` lists the targets.
PYTHON ?= python3
CORES ?= 8
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/build.lock requirements/numeric.lock requirements/workflow.lock
INSTALL := $(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test test-unit test-workflow test-browser test-long test-oldest test-fast cluster storage fuzz coverage torture lint format smoke bench reference docs lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.run ## make .venv with the locked dependencies and this package

$(VENV)/.run: $(LOCKS) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement requirements/build.lock
	$(INSTALL) --requirement requirements/numeric.lock --requirement requirements/workflow.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.lock
	$(INSTALL) --requirement requirements/test.lock
	touch $@

cluster: $(VENV)/.run ## add what the profiles for clusters need (profiles/README.md)
	$(INSTALL) --requirement requirements/cluster.lock

storage: $(VENV)/.run ## add what DVC and Snakemake need for an S3 storage
	$(INSTALL) --requirement requirements/s3.lock

# For the tests in a folder of its own: each start of Snakemake imports all plug-ins installed.
build/%/.run: requirements/%.lock | $(VENV)/.run
	rm -rf $(@D)
	$(INSTALL) --no-deps --target $(@D) --requirement $<
	touch $@

reproduce: $(VENV)/.run ## rebuild every number of the default grid and print the tables
	snakemake --cores $(CORES) --resources gpu=1
	osad tables
	@echo "Open results/report/index.html in a browser."

smoke: $(VENV)/.run ## run every step on ELPV, little of each (two to four minutes)
	snakemake --cores 2 --resources gpu=1 --configfile configs/smoke.yaml
	@echo "Open results/smoke/report/index.html in a browser; its numbers mean nothing."

# One thread in each of the two processes, as in every process of a run.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
BROWSER := tests/unit/report/test_browser.py
QUICK := -m "not long"
test: $(VENV)/.test lint ## run linters, type checks and all tests but the long ones
	$(PYTEST) $(QUICK)

test-unit: $(VENV)/.test ## run the tests of single modules, examples of docstrings too
	$(PYTEST) tests/unit src --ignore $(BROWSER)

test-workflow: $(VENV)/.test ## run the tests that run Snakemake or DVC
	$(PYTEST) $(QUICK) tests/workflow

test-long: $(VENV)/.test build/cluster/.run build/s3/.run ## run the long tests: whole runs, several machines, servers
	$(PYTEST) -m long

test-browser: $(VENV)/.test ## run the tests of the page in Chromium
	OMP_NUM_THREADS=1 pytest $(BROWSER)

# The pipeline itself asks for the versions of numeric.lock, so these are the rooms below it. Old packages
# warn of what newer ones have deprecated.
OLDEST := .venv-oldest
ROOMS := $(addprefix tests/unit/,core data evaluation features learn methods)
test-oldest: $(VENV)/.test ## run tests of numbers with the oldest packages that pyproject.toml allows
	uv venv --clear --python $(BIN)/python $(OLDEST)
	uv pip install --python $(OLDEST) --resolution lowest-direct --editable .
	uv pip install --python $(OLDEST) --no-deps --requirement requirements/test.lock
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --numprocesses 2 -W default -m "not slow" $(ROOMS)

coverage: $(VENV)/.test ## measure which lines the quick unit tests run, fail below the floor (ten minutes)
	OMP_NUM_THREADS=1 coverage run -m pytest -m "not slow" tests/unit src --ignore $(BROWSER)
	coverage report --skip-covered

test-fast: $(VENV)/.test ## run the tests that take seconds
	pytest -m "not slow and not workflow"

fuzz: $(VENV)/.test ## try 10,000 generated inputs on each reader of files (an hour or two)
	OMP_NUM_THREADS=1 pytest -m fuzz --hypothesis-profile=long --timeout=0 --durations=0

FAULTS := KILLS SERVERS DISKS PAIRS CUTS DAMAGES RIGHTS CLOCKS SEED
torture: $(VENV)/.test ## inject faults into runs (KILLS=100 DISKS=20 ...), write docs/reliability.md
	OMP_NUM_THREADS=1 python tests/workflow/torture.py $(foreach name,$(FAULTS),$(if $($(name)),$(name)=$($(name))))

lint: $(VENV)/.test ## run linters and type checks
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(VENV)/.test ## format the sources
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

bench: $(VENV)/.run ## measure speed and memory on this machine
	python bench/bench.py

reference: $(VENV)/.run ## write numbers, parameters and commands into README and docs
	python docs/fill_tables.py

# The pages, README first, are laid out as in the repository, so that their links hold.
docs: $(VENV)-docs/.run ## make the documentation as a site, site/index.html
	rm -rf build/pages
	mkdir -p build/pages
	cp -R *.md docs examples profiles LICENSE CITATION.cff build/pages
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --quiet
	@echo "Open site/index.html in a browser."

# An environment of its own: what runs has none of it.
$(VENV)-docs/.run: requirements/docs.lock
	$(PYTHON) -m venv --clear $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --require-hashes --requirement $<
	touch $@

lock: ## write the lock files from what is installed in .venv
	$(BIN)/python requirements/lock.py
