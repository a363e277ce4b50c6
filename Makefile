# Everything happens in .venv, which is made on the first use. Needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: help install bench test results paper paper-files benchmarks reliability compare lint clean

help:
	@echo "make bench       install, run the default suite, print its table and where the report is"
	@echo "make test        install, run the tests"
	@echo "make install     install into $(VENV)"
	@echo "make results     run every suite and put its rows, tables and figures under results/"
	@echo "make paper       build paper/paper.pdf; needs a LaTeX"
	@echo "make paper-files rebuild the paper's numbers, tables and figures from results/"
	@echo "make benchmarks  measure speed against other ways; writes results/benchmarks/ratios.csv"
	@echo "make reliability kill, fill, damage and lock runs; writes results/reliability/faults.csv"
	@echo "make compare     run suites in this checkout and in BASE=<another>, and compare them to the bit"
	@echo "make lint        check style and types"
	@echo "make clean       remove $(VENV) (runs and results stay)"

install: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ntbench needs Python 3.11 or newer; $(PYTHON) is not. Say which: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

bench: $(READY)
	$(BIN)/ntbench run experiments/default.toml

# A worker a core, each file in one of them; of more than four, each with two gigabytes, memory would be short.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# Some read MNIST or Fashion-MNIST from the folder that NTBENCH_DATA names. make results SUITES="default depth" runs two.
SUITES := $(patsubst experiments/%.toml,%,$(wildcard experiments/*.toml))
KEPT   := report.md table.md comparisons.csv results.parquet provenance.json export/examples.parquet

results: $(READY)
	@for suite in $(SUITES); do \
	  $(BIN)/ntbench run experiments/$$suite.toml && mkdir -p results/$$suite && \
	  $(BIN)/ntbench export runs/$$suite --examples --out runs/$$suite/export && \
	  (cd runs/$$suite && cp $(KEPT) $$(ls weightings.csv 2>/dev/null) *.png ../../results/$$suite/) || exit; \
	done

# What the paper's first page loads, and a font file.
STYLES := mathptmx.sty helvet.sty lmodern.sty geometry.sty amsmath.sty booktabs.sty graphicx.sty natbib.sty caption.sty \
          microtype.sty hyperref.sty ptmr8t.tfm phvr8t.tfm

paper:
	@missing=""; for tool in latexmk pdflatex bibtex kpsewhich; do \
	  command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then for style in $(STYLES); do \
	  kpsewhich $$style >/dev/null || missing="$$missing $$style"; done; fi; \
	if [ -n "$$missing" ]; then echo "make paper needs a LaTeX; missing:$$missing" >&2; \
	  echo "on Debian and Ubuntu: apt install latexmk texlive-latex-recommended texlive-fonts-recommended lmodern" >&2; \
	  exit 2; fi
	cd paper && latexmk -pdf -interaction=nonstopmode -halt-on-error -quiet paper.tex
	@echo paper/paper.pdf

# Exit code 1 says that a table was not the committed one: now it is.
paper-files: $(READY)
	$(BIN)/ntbench reproduce paper --out runs/reproduced || test $$? -eq 1
	cp runs/reproduced/paper/* paper/generated/

# Ratios mean something on a quiet machine only. ARGS names some: make benchmarks ARGS="step cut".
benchmarks: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,benchmarks]'
	$(BIN)/python -m tests.benchmarks $(ARGS)

# About half an hour. ARGS names some faults: make reliability ARGS="'torn last line' --tries 5".
reliability: $(READY)
	$(BIN)/python -m tests.reliability $(ARGS)

# About half an hour on two cores. ARGS names suites and seeds: make compare BASE=../before ARGS="--suite default:0-1".
compare: $(READY)
	@test -n "$(BASE)" || { echo "make compare needs the other checkout: make compare BASE=../before" >&2; exit 2; }
	@$(BIN)/python -m tests.compare_checkouts "$(BASE)" . $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
