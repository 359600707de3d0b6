# install: .venv, nothing else. demo: the study on the mini world. test: the tests. check: lint.
# smoke: the mini world cut short. plan: the jobs of CONFIG and what they cost, without any file.
PYTHON ?= python3
# jobs of demo and smoke at a time; if not given, as many as CPUs and memory hold
CORES ?=
CONFIG ?= config/config.yaml
BIN := .venv/bin
READY := .venv/.installed
# on the CPU, on every machine
MINI := CUDA_VISIBLE_DEVICES= $(BIN)/snakemake \
	--resources gpu=0 --cores $(or $(CORES),$$($(BIN)/python -m seesaw.machine))

.PHONY: install demo plan smoke test check dag lock

install: $(READY)
	@echo 'installed; now say: source .venv/bin/activate'

demo: $(READY)
	$(MINI) --configfile config/mini.yaml
	@echo
	@echo "report   $(CURDIR)/results/mini/report/index.html   (open this first)"
	@echo "tables   $(CURDIR)/results/mini/tables"
	@echo "figures  $(CURDIR)/results/mini/figures"

plan: $(READY)
	$(BIN)/python -m seesaw.plan --configfile $(CONFIG) --output results/plan.csv

smoke: $(READY)
	$(MINI) --configfile config/smoke.yaml

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/library
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile config/mini.yaml

# the rule graph of the README
dag: $(READY)
	$(BIN)/python docs/rulegraph.py

# exact pins from the ranges of pyproject.toml; envs/*.yaml take theirs from here (tested)
lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--constraint envs/constraints.txt --no-header --no-annotate --output-file requirements.lock
	$(BIN)/python envs/pin.py

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else f"Seesaw needs Python 3.11 or 3.12, $(PYTHON) is {sys.version.split()[0]}; say make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
