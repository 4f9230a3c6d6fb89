#!/usr/bin/env bash
# Licences, sources and duplicate bans of the dependency graph, as deny.toml says. cargo-deny is built once into the cache;
# its advisory database needs a network this check does without.
set -euo pipefail
cache="${THROUGHLINE_TEST_CACHE:-$HOME/.cache/throughline}/cargo-deny"
if ! command -v cargo-deny >/dev/null 2>&1 && [ ! -x "$cache/bin/cargo-deny" ]; then
  cargo install --quiet --locked --root "$cache" cargo-deny@0.20.2
fi
PATH="$cache/bin:$PATH" cargo deny --offline check bans licenses sources
