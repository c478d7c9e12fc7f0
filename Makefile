# make demo     the whole job on data that comes with a dependency (about ten minutes the first time)
# make test     all tests
# make check    lint, and the quick tests: those that train and convert no network (about three minutes)
# make lint     formatting, ruff, mypy
# make format   let ruff rewrite the formatting
# make docs     the documentation site, into site/
# make man      man pages, into build/man/
# make diagrams draws those of docs/*.md for the site, after one was changed (needs npm and chromium)
# make figures draws those of docs/*.md, after a result in benchmarks/results/ or the code behind one was changed
# make bench    side-by-side measurements on the demo's network, or on MODEL=... TRAIN=... TEST=... (long)
# make clean    remove .venv and caches
#
# Needs make and Python 3.11 or later with venv; on Debian and Raspberry Pi OS: apt-get install make python3-venv git

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CODE   := edge quantize devices examples benchmarks tests

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format docs man diagrams figures bench clean
.NOTPARALLEL:

help:
	@sed -n 's/^# make/make/p' Makefile

# The stamp is touched last, so an interrupted installation is taken up again by the next make.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "edgekit needs Python 3.11 or later as $(PYTHON); name another one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module for $(PYTHON): apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing edgekit with TensorFlow into $(VENV): once, about 650 MB to fetch, 2.5 GB on disk."
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[quantize,report,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/edgekit demo

# Two processes, as most of TensorFlow's tracing and converting runs on one core; each file's tests stay together, the slow files first.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m quick

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --select I .

# mkdocs reads the code of edgekit, and the hook runs its --help; neither needs TensorFlow.
docs: $(STAMP)
	@$(BIN)/python -c 'import material, mkdocstrings' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean
	@echo "site/index.html"

man: $(STAMP)
	$(BIN)/python docs/man_pages.py build/man

diagrams: $(STAMP)
	$(BIN)/python docs/draw_diagrams.py

figures: $(STAMP)
	$(BIN)/python docs/draw_figures.py

MODEL ?= edgekit-demo/digits.keras
TRAIN ?= edgekit-demo/photos/train
TEST  ?= edgekit-demo/photos/test
bench: $(STAMP)
	@test -e $(MODEL) || { echo "no $(MODEL): run make demo first, or name your own: make bench MODEL=... TRAIN=... TEST=..." >&2; exit 2; }
	$(BIN)/python benchmarks/conversion.py $(MODEL) --images $(TRAIN)
	$(BIN)/python benchmarks/accuracy.py $(MODEL) --images $(TRAIN) --test $(TEST)

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
