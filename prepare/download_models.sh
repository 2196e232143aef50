#!/usr/bin/env bash
# LaMP's and MoMask's released models, and CLIP's text encoder → checkpoints/. --kit: KIT-ML's as well; --captioner: LaMP's captioner, 7 GB; --help.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
exec "$python" -m prepare.download --what models "$@"
