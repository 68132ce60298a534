#!/usr/bin/env bash
# Makes .venv-peers/<name> for each peer whose packages don't go with streamapp's. Run again, it
# changes nothing it need not.
set -euo pipefail
cd "$(dirname "$0")/../.."

flink_connector=org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2

for name in quix flink; do
  lock="benchmarks/peers/$name.lock"
  environment=".venv-peers/$name"
  [ "$environment/.installed" -nt "$lock" ] && continue
  [ -x "$environment/bin/python" ] || .venv/bin/python -m venv "$environment"
  "$environment/bin/python" -m pip --disable-pip-version-check --quiet \
    install --require-hashes --requirement "$lock"
  if [ "$name" = flink ]; then
    mvn --batch-mode --quiet dependency:copy \
      -Dartifact="$flink_connector" -DoutputDirectory="$PWD/$environment/jars"
  fi
  touch "$environment/.installed"
done
