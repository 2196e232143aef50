#!/usr/bin/env bash
# Download the released matching evaluator with its statistics to checkpoints/; with --kit also the evaluator for KIT-ML.
# The evaluator also needs the word vectors that prepare/download_glove.sh downloads.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
exec "$python" -m prepare.download --what evaluator "$@"
