# Every target sets itself up: `make demo` and `make test` are all that a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.ready-to-run
DEVELOP := $(VENV)/.ready-to-develop
PYTEST := $(BIN)/python -m pytest -n logical --dist worksteal

# One thread for the linear algebra: its own threads only fight with XLA's and with the other test process.
export OPENBLAS_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Most of the tests' time is compiling. XLA's older emitters of fusions take two thirds of it, and LLVM's first level of
# optimisation a sixth less again; none at all would cost the simulations more than it saves. Every processor has a test
# process of its own, so that dividing a program among threads to compile it costs a tenth and saves nothing.
test test-all: export XLA_FLAGS ?= --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1 \
	--xla_cpu_parallel_codegen_split_count=1

.PHONY: help demo test test-all lint format bench notebooks wheel clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1 -- \2/p' Makefile

demo: $(RUN)  ## Calibrate, solve, simulate and report on the sample: runs/demo/report.html
	$(BIN)/twosided demo --out runs/demo

test: $(DEVELOP)  ## The tests
	$(PYTEST) -m "not slow"

test-all: $(DEVELOP)  ## The tests with the longer studies and the notebooks
	$(PYTEST)

lint: $(DEVELOP)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(DEVELOP)  ## Mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEVELOP)  ## The table of timings beside the yardsticks
	$(BIN)/python -m benchmarks

notebooks: $(DEVELOP)  ## Execute paper/*.ipynb in place
	$(BIN)/python tests/paper/test_notebooks.py

wheel: $(DEVELOP)  ## dist/*.whl, by way of the source archive
	$(BIN)/python -m build --outdir dist

clean:  ## Remove what was built; runs/ and the virtual environment stay
	rm -rf build dist .cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find benchmarks hjb models paper src tests validation -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that lands in a new environment, so one that was cut short is finished here.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "twosided needs Python 3.11 or later, and '$(PYTHON)' is not; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "'$(PYTHON)' cannot make a virtual environment; install its venv module (Debian: python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamps live in the virtual environment, and go with it.
$(RUN): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing twosided into $(VENV); a minute or two, once"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(DEVELOP): $(RUN)
	@echo "Installing what tests and lint need; a minute or two, once"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
