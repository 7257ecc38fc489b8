#!/usr/bin/env bash
# tools/is_stale.sh STAMP FILE_OR_FOLDER...: succeeds if STAMP is missing, or older than one of the files. The Makefile
# calls it, because make cannot handle names with spaces. Hidden and compiled files do not count.
set -euo pipefail
stamp=$1
shift
[ -e "$stamp" ] || exit 0
# What cannot be read counts as newer.
newer=$(find "$@" \( -name '.?*' -o -name __pycache__ \) -prune -o -type f -newer "$stamp" -print) || exit 0
[ -n "$newer" ]
