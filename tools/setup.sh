#!/bin/sh
# setup.sh PYTHON VENV EXTRA: a virtual environment with the archiver installed from this checkout.
set -eu
python=$1 venv=$2 extra=$3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "the archiver needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Try: make PYTHON=python3.12 ..." >&2
    exit 2
}
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --editable ".[$extra]"
else
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$extra]"
fi
