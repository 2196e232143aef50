#!/usr/bin/env bash
# Download the word vectors that the released matching evaluators use to glove/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
exec "$python" -m prepare.download --what glove "$@"
