#!/bin/sh
# Makes .venv/PURPOSE with ppnext in it, or leaves it alone when it is up to date.
#
#   scripts/venv.sh PURPOSE editable|installed [EXTRAS]
#
# editable: the checkout itself is imported; remade when pyproject.toml changes.
# installed: as a user gets it; installed again when any file of the package changes too.
# $PYTHON names the interpreter (default python3).
set -eu

purpose=$1
mode=$2
extras=${3:-}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv/$purpose
stamp=$venv/ppnext.stamp
unset PYTHONPATH PYTHONHOME

if ! command -v "$python" >/dev/null 2>&1; then
    echo "ppnext: no interpreter '$python' here; say make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "ppnext: needs Python 3.10 or newer, but '$python' is $version; say make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi

# Where and for what the environment was made: if it differs, a new one is made.
origin="$version $mode $extras $(pwd)"

# All that the installation depends on: if it differs, ppnext is installed again.
fingerprint() {
    echo "$origin"
    cksum pyproject.toml setup.py
    if [ "$mode" = installed ]; then
        find ppnext -type f ! -name '*.pyc' -exec cksum {} + | sort
    fi
}

if "$venv/bin/python" -c '' 2>/dev/null && [ -f "$stamp" ]; then
    if [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
        exit 0
    fi
    made_for=$(head -n 1 "$stamp")
else
    made_for=
fi

if [ "$made_for" != "$origin" ]; then
    echo "ppnext: making $venv with Python $version"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv"; then
        echo "ppnext: '$python -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2
        exit 1
    fi
fi
rm -f "$stamp"

echo "ppnext: installing ppnext${extras:+[$extras]} into $venv"
# Left-overs of an earlier build would be packed again, deleted modules included.
rm -rf build/lib* build/bdist*
set -- --disable-pip-version-check install -qq
if [ "$mode" = editable ]; then
    set -- "$@" --editable
fi
if ! "$venv/bin/python" -m pip "$@" ".${extras:+[$extras]}"; then
    echo "ppnext: pip could not install ppnext and what it needs into $venv, see above" >&2
    exit 1
fi
rm -rf build/lib* build/bdist*
fingerprint >"$stamp"
