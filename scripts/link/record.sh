#!/usr/bin/env bash
# Writes scripts/link/startup.ld: the functions that a sidecar runs until it is idle and ready, to be linked side by side.
#
# Usage: scripts/link/record.sh BOOTSTRAP BINARY...     (valgrind needed; binaries with symbols; a broker on loopback)
# Run it when idle memory has grown (`make bench`), with copies of two binaries: that of `cargo build --release`, and that of
# `cargo bench`, where the features of the development dependencies give generic functions other hashes.
# Names that are gone from a binary do no harm, nor do missing ones.
set -euo pipefail
bootstrap=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Appends to $work/names what one binary runs.
record() {
    local binary=$1
    timeout -s TERM 15 valgrind --tool=callgrind --demangle=no --callgrind-out-file="$work/out" \
        "$binary" run --mode observe --bootstrap "$bootstrap" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/log" 2>&1 &
    # What every pod is asked, by its kubelet.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 1
        admin=$(sed -nE 's/.* admin=([0-9.:]+).*/\1/p' "$work/log" | head -1)
        [ -z "$admin" ] || for path in readyz livez; do curl -s -m 5 "http://$admin/$path" || true; done
    done
    wait || true
    sed -nE "s/^c?fn=\([0-9]+\) //p" "$work/out" | sed -E "s/'[0-9]+\$//" | sort -u >"$work/ran"
    nm -S -t d --defined-only "$binary" | awk 'NF == 4 && $3 ~ /^[tTwW]$/ {print $1, $4, $2}' | sort >"$work/symbols"
    # All names of an address that ran: identical functions are one. Legacy mangling ends in a hash, which most changes elsewhere
    # leave alone and a new compiler does not: any hash will do, but where that would drag in more than twice of what ran (a
    # generic function). The standard library's names (v0 mangling) have none.
    awk 'function base(name) {sub(/17h[0-9a-f]+E.*$/, "17h", name); return name}
         NR == FNR {ran[$1] = 1; next} ($2 in ran) {at[$1] = 1} {address[FNR] = $1; name[FNR] = $2; size[FNR] = $3 + 0; n = FNR}
         END {
             for (i = 1; i <= n; i++) {all[base(name[i])] += size[i]; if (address[i] in at) used[base(name[i])] += size[i]}
             for (i = 1; i <= n; i++) if (address[i] in at) {
                 of = base(name[i])
                 if (name[i] ~ /^_R/) {sub(/\.[0-9]+$/, "", name[i]); print name[i] "*"}
                 else if (all[of] > 2 * used[of] + 512) {sub(/E[^E]*$/, "E*", name[i]); print name[i]} else print of "*"
             }
         }' "$work/ran" "$work/symbols" | grep -E '^_ZN.*17h|^_R' >>"$work/names"
}

for binary in "$@"; do record "$binary"; done
sort -u -o "$work/names" "$work/names"
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
