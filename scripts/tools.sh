#!/usr/bin/env bash
# Sees to it that what a make target needs is there: installs it where that is allowed (root, or THROUGHLINE_INSTALL=1
# with sudo), else prints the one line to run. Groups: build, brokers, clients, rules.
set -euo pipefail

packages=()
want() { # command, Debian package
  command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

# The schema registry of the tests needs Java 21 or newer, beside the 17 that brokers run on.
registry_java() {
  local java version
  for java in java "${JAVA_HOME:-/nonexistent}/bin/java" /usr/lib/jvm/*/bin/java; do
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1) || true
    [ "${version:-0}" -ge 21 ] && return
  done
  for version in 21 25; do
    if apt-cache show "openjdk-$version-jre-headless" >/dev/null 2>&1; then
      packages+=("openjdk-$version-jre-headless")
      return
    fi
  done
  echo "Java 21 or newer is missing and this system has no package of it: install one (adoptium.net) below /usr/lib/jvm or set JAVA_HOME" >&2
  exit 1
}

for group in "$@"; do
  case $group in
    build)
      if ! command -v cargo >/dev/null 2>&1; then
        echo "cargo is missing: install Rust with rustup (rust-toolchain.toml names the version)" >&2
        exit 1
      fi
      want cc gcc; want c++ g++; want make make; want perl perl
      ;;
    brokers)
      registry_java
      want java openjdk-17-jdk-headless; want javac openjdk-17-jdk-headless; want mvn maven; want unzip unzip
      ;;
    clients)
      want python3 python3; want node nodejs; want npm npm
      python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
      if ! command -v go >/dev/null 2>&1; then
        packages+=(golang-go)
      fi
      ;;
    rules)
      want promtool prometheus; want prometheus prometheus
      want amtool prometheus-alertmanager; want prometheus-alertmanager prometheus-alertmanager
      want python3 python3
      ;;
    *) echo "unknown group $group" >&2; exit 2 ;;
  esac
done

[ ${#packages[@]} -eq 0 ] && exit 0
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
line="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" = 0 ]; then
  echo "installing: ${packages[*]}" >&2
  DEBIAN_FRONTEND=noninteractive bash -c "$line" >&2
elif [ "${THROUGHLINE_INSTALL:-}" = 1 ] && command -v sudo >/dev/null 2>&1; then
  echo "installing: ${packages[*]}" >&2
  sudo DEBIAN_FRONTEND=noninteractive bash -c "$line" >&2
else
  echo "missing: ${packages[*]}. Run: sudo bash -c '$line'" >&2
  exit 1
fi
