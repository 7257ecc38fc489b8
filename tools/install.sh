#!/usr/bin/env bash
# Makes .venv and installs the tested versions of everything; make calls it. An error is one sentence.
# CONSTRAINTS names another file of versions; /dev/null means the newest releases.
set -euo pipefail
python=${PYTHON:-python3}
constraints=${CONSTRAINTS:-constraints.txt}

fail() {
    echo "Cannot install: $1" >&2
    exit 1
}

command -v -- "$python" >/dev/null || fail "there is no $python. Install Python 3.11 or newer (Debian: apt install python3)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old. Install Python 3.11 or newer, or run make PYTHON=/path/to/it."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python's venv module is missing. On Debian: apt install python3-venv."
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
[ "$free" -ge 4 ] || fail "about 4 GB of disk are needed and ${free} GB are free here."

echo "== Installing into .venv (a few minutes the first time)"
"$python" -m venv .venv
.venv/bin/python -m pip install --progress-bar on -c "$constraints" -r requirements.txt ||
    fail "pip could not bring every package (its last lines say which). Is the network up? Run the same command again."
.venv/bin/python -m pip install --quiet --no-deps -e . || fail "the package nbhelpers itself did not install."
