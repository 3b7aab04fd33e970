#!/bin/sh
# Prints a Python that is new enough and can make environments.
#   find-python.sh               the newest suitable one
#   find-python.sh COMMAND       this one, or a message why not
#   find-python.sh --version X.Y this version, or nothing
set -u

suits() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ "${1-}" = --version ]; then
    # Version managers may keep interpreters that are not on the path.
    for candidate in "python$2" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$2".*/bin/"python$2"; do
        if suits "$candidate"; then
            echo "$candidate"
            exit 0
        fi
    done
    exit 1
fi

if [ $# -eq 0 ]; then
    set -- python3.13 python3.12 python3.11 python3 python
fi
for candidate in "$@"; do
    if suits "$candidate"; then
        echo "$candidate"
        exit 0
    fi
done

{
    echo "No suitable Python: 3.11 or newer is needed, with its venv module."
    for candidate in "$@"; do
        if ! command -v "$candidate" >/dev/null 2>&1; then
            continue
        elif ! version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
            echo "  $candidate does not start"
        elif ! "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "  $candidate is $version without venv (on Debian: apt install python$version-venv)"
        else
            echo "  $candidate is $version"
        fi
    done
    echo "Name another one with: make PYTHON=/path/to/python3.11 ..."
} >&2
exit 1
