#!/usr/bin/env bash
# Makes .venv with streamapp and all its tools in it. Run again, it changes nothing it need not.
# Versions and hashes come from deploy/requirements.lock, made and tested for Python 3.11 to 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "setup: $*" >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or newer as python3; name another with make setup PYTHON=/path/to/python"
}

python=$(find_python)
[ -x .venv/bin/python ] || "$python" -m venv .venv ||
  fail "python can't make a virtual environment; on Debian: apt-get install python3-venv"
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)

if .venv/bin/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
  "${pip[@]}" install --require-hashes --requirement deploy/requirements.lock
  "${pip[@]}" install --no-deps --no-build-isolation --editable .
else
  echo "setup: the lock file is for Python 3.11 to 3.13; this is $(.venv/bin/python --version):" \
    "installing the newest versions that fit, unpinned" >&2
  "${pip[@]}" install --editable ".[api,dev]" --requirement deploy/tools.in
fi
echo "setup: compiling loops, a minute at most"
.venv/bin/streamapp compile
touch .venv/.installed
