# make demo [PROMPT="…"]   a motion from a sentence, with the embedded weights
# make test                style check and tests
# make check               the same and the slow tests: fuzzing, kills in every stage
# All set themselves up in .venv; PY=python3.12 make … uses another Python (3.10 or newer).

PY ?= python3
PROMPT ?= a person waves with the right hand
export PROMPT

PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check clean

demo: .venv/run
	$(PYTHON) gen_t2m.py --ext demo --text_prompt "$$PROMPT"

test: .venv/dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest

check: test
	$(PYTHON) -m pytest -m slow

.venv/torch:
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; try PY=python3.11 make …"; exit 2; }
	$(PY) -m venv .venv
	$(PIP) torch==2.13.0
	@touch $@

.venv/run: .venv/torch requirements.txt requirements-data.txt
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-data.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-evaluation.txt requirements-lm.txt requirements-clip.txt
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps -r requirements-clip.txt
	@touch $@

clean:
	rm -rf .venv
