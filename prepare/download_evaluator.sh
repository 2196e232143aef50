#!/usr/bin/env bash
# The released matching evaluator with its statistics → checkpoints/. --kit: KIT-ML's as well. It reads prepare/download_glove.sh's vectors.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
exec "$python" -m prepare.download --what evaluator "$@"
