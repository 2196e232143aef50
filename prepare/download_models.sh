#!/usr/bin/env bash
# Download LaMP's and MoMask's released models and CLIP's text encoder to checkpoints/.
# --kit: also the models for KIT-ML; --captioner: also LaMP's captioner (7 GB); --help: all flags.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
command -v "$python" > /dev/null || python=python3
exec "$python" -m prepare.download --what models "$@"
