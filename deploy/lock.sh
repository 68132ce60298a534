#!/usr/bin/env bash
# Writes deploy/requirements.lock (all a developer needs) and deploy/runtime.lock (all the image
# needs, the same versions), and benchmarks/peers/*.lock (an environment each): exact versions,
# hashes of every platform's files, no index address.
# Versions already locked are kept; `deploy/lock.sh --upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "uv>=0.9,<1"

compile() {
  "$work/venv/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" "$@"
}
compile pyproject.toml deploy/tools.in --extra dev --extra api --extra otel --output-file deploy/requirements.lock "$@"
echo "setuptools" | compile pyproject.toml - --extra api --extra otel \
  --constraints deploy/requirements.lock --output-file deploy/runtime.lock "$@"
for peer in quix flink; do
  compile "benchmarks/peers/$peer.in" --output-file "benchmarks/peers/$peer.lock" "$@"
done
