#!/usr/bin/env bash
# Writes scripts/link/startup.ld: the functions that a sidecar runs until it is idle and ready, to be linked side by side.
#
# Usage: scripts/link/record.sh BINARY BOOTSTRAP...     (valgrind needed; BINARY with symbols; brokers on loopback)
# Run it when idle memory has grown (`make bench`). Names that are gone from the binary do no harm, nor do missing ones.
set -euo pipefail
binary=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for bootstrap in "$@"; do
    timeout -s TERM 12 valgrind --tool=callgrind --demangle=no --callgrind-out-file="$work/$bootstrap.out" \
        "$binary" run --mode observe --bootstrap "$bootstrap" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/log" 2>&1 || true
done
# Legacy mangling ends in a hash of its own for every build: any will do.
sed -nE "s/^c?fn=\([0-9]+\) //p" "$work"/*.out | sed -E "s/'[0-9]+\$//" | sort -u >"$work/ran"
nm --defined-only "$binary" | awk '$2 ~ /^[tTwW]$/ {print $1, $3}' | sort >"$work/symbols"
# All names of an address that ran: identical functions are one.
awk 'NR == FNR {ran[$1] = 1; next} ($2 in ran) {at[$1] = 1} {line[FNR] = $0; n = FNR}
     END {for (i = 1; i <= n; i++) {split(line[i], f, " "); if (f[1] in at) print f[2]}}' "$work/ran" "$work/symbols" |
    grep -E '^_ZN' | sed -E 's/17h[0-9a-f]{16}E.*$/17h*/' | sort -u >"$work/names"
{
    echo '/* What an idle sidecar has run, side by side in memory. Made by scripts/link/record.sh. */'
    echo 'SECTIONS'
    echo '{'
    echo '  .text_startup :'
    echo '  {'
    sed -E 's/.*/    *(.text.& .text.unlikely.&)/' "$work/names"
    echo '  }'
    echo '}'
    echo 'INSERT BEFORE .text;'
} >"$here/startup.ld"
wc -l "$here/startup.ld"
