#!/usr/bin/env bash
# Installs what the integration tests start for themselves and finds missing: Java and Maven (for
# Apache Kafka, whose jars Maven fetches at the first start), PostgreSQL, Redis, ps, libfaketime (to
# set the clock of one process), Chromium with letters to draw (for the console), and Prometheus for its
# promtool. It starts none of them. Run again, it changes nothing.
set -euo pipefail

readonly JAVA_MIN=17

has_java() {
  local major
  major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ "${major:-0}" -ge "$JAVA_MIN" ]
}

has_postgres() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

missing=()
has_java || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
has_postgres || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v ps >/dev/null || missing+=(procps)
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
command -v chromium >/dev/null || command -v google-chrome >/dev/null ||
  missing+=(chromium fonts-dejavu-core)
command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  {
    echo "install-test-servers: integration tests need these, which are not installed:"
    echo "  Debian's names: ${missing[*]}"
    echo "  on Debian or Ubuntu run: sudo $0"
    echo "  elsewhere install Java $JAVA_MIN or newer, Maven, PostgreSQL (initdb on PATH), Redis, ps," \
      "libfaketime, Chromium, promtool"
  } >&2
  exit 2
fi

# Debian starts a service as it installs it, unless this file answers 101, "not allowed".
readonly POLICY=/usr/sbin/policy-rc.d
if [ ! -e "$POLICY" ]; then
  trap 'rm -f "$POLICY"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$POLICY"
  chmod 755 "$POLICY"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"

has_java || {
  echo "install-test-servers: $(command -v java) is older than $JAVA_MIN: remove it or put a newer" \
    "one first on PATH" >&2
  exit 2
}
