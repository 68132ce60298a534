#!/usr/bin/env bash
# Makes .venv-peers/<name> for each peer whose packages don't go with streamapp's. Run again, it
# changes nothing it need not.
set -euo pipefail
cd "$(dirname "$0")/../.."

for name in "$@"; do
  lock="benchmarks/peers/$name.lock"
  environment=".venv-peers/$name"
  [ "$environment/.installed" -nt "$lock" ] && continue
  [ -x "$environment/bin/python" ] || .venv/bin/python -m venv "$environment"
  "$environment/bin/python" -m pip --disable-pip-version-check --quiet \
    install --require-hashes --requirement "$lock"
  touch "$environment/.installed"
done
