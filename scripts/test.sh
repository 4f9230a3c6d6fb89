#!/usr/bin/env bash
# All tests; arguments go to cargo (--profile quick).
# The programs of tests/ wait for brokers and clients half of their time, so two run side by side (THROUGHLINE_TEST_LANES),
# the longest first. Each tells all it has to tell when it ends; nothing stops because one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
lanes=${THROUGHLINE_TEST_LANES:-2}
longest='real_clients real_assets real_states real_brokers real_observer real_canary real_cluster real_security real_lineage real_edit
  real_failure_modes real_audit_topic real_schemas real_instrumented real_rights real_metrics_push real_traces demo real_healthy
  rules deploy alertmanager dashboards'

results=$(mktemp -d)
export results
trap 'rm -rf "$results"' EXIT

run() {
  local program=$1 log
  log=$(mktemp "$results/log.XXXXXX")
  "$program" >"$log" 2>&1 </dev/null || echo "$program" >>"$results/failed"
  exec 9>"$results/lock"
  flock 9
  printf '\n     Running %s\n' "$program"
  cat "$log"
}
export -f run

CARGO_TERM_COLOR=never "${CARGO:-cargo}" test --no-run "$@" 2>&1 | tee "$results/built"
sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$results/built" >"$results/programs"
[ -s "$results/programs" ] || { echo "cargo named no test program" >&2; exit 1; }
for name in $longest; do
  grep "/$name-[0-9a-f]*$" "$results/programs" || { echo "scripts/test.sh: there is no tests/$name.rs" >&2; exit 1; }
done >"$results/order"
grep -vxFf "$results/order" "$results/programs" >>"$results/order"
xargs -P "$lanes" -I{} bash -c 'run {}' <"$results/order" 2>&1 | tee "$results/told"
"${CARGO:-cargo}" test --doc "$@" 2>&1 | tee -a "$results/told" || echo "the examples in the documentation" >>"$results/failed"

awk '/^test result:/ { programs++; passed += $4; failed += $6; ignored += $8 }
     END { printf "\nall of %d programs: %d passed; %d failed; %d ignored\n", programs, passed, failed, ignored }' "$results/told"
if [ -s "$results/failed" ]; then
  echo "failed:"
  sed 's/^/    /' "$results/failed"
  exit 1
fi
