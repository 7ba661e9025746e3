#!/bin/sh
# Writes requirements.lock and setup/tests.lock anew: exact versions with hashes for every platform, valid from Python 3.11 on.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/pip" --disable-pip-version-check install --quiet uv
{
    # shellcheck disable=SC2016
    echo '# Pinned by `make lock`; do not edit. Holds for Python 3.11 and later; hashes cover every platform of a release.'
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
        --no-emit-index-url --no-annotate --no-header --extra test --extra build pyproject.toml
} >requirements.lock.new
mv requirements.lock.new requirements.lock
{
    # shellcheck disable=SC2016
    echo '# What tests of the report page need besides requirements.lock. Pinned by `make lock`; do not edit.'
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
        --no-emit-index-url --no-annotate --no-header --constraints requirements.lock --group browser
} >setup/tests.lock.new
mv setup/tests.lock.new setup/tests.lock
