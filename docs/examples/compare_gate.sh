#!/usr/bin/env bash
# Fails when a candidate trains worse than a baseline, on the same seeds, by more than a margin.
#
#   compare_gate.sh BASELINE CANDIDATE [KEY=VALUE…] [OPTION of `optrun compare`…]
#
# BASELINE and CANDIDATE are YAML files, presets or optimizers. Variables:
#   SEEDS    seeds of each (10)
#   MARGIN   largest loss of the metric that does not matter (0.005)
#   REPORT   Markdown file to write (comparison.md)
#
# Exit code: 0 not worse, 1 worse or undecided, 6 some runs failed, anything else: the comparison itself did not work.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: compare_gate.sh BASELINE CANDIDATE [KEY=VALUE...] [OPTION...]" >&2
  exit 2
fi
baseline=$1 candidate=$2
shift 2

# An entry is called like its file.
entry() { basename "$1" | sed -E 's/\.ya?ml$//'; }

code=0
optrun compare "$baseline" "$candidate" "$@" \
  --no-tune \
  --seeds "${SEEDS:-10}" \
  --margin "${MARGIN:-0.005}" \
  --baseline "$(entry "$baseline")" \
  --gate "$(entry "$candidate") not worse than $(entry "$baseline")" \
  --export "${REPORT:-comparison.md}" || code=$?

case $code in
  0) echo "$(entry "$candidate") is not worse" ;;
  1) echo "$(entry "$candidate") is worse, or the seeds cannot tell: see the gate above" >&2 ;;
  6) echo "some runs failed: the same command goes on with the rest" >&2 ;;
  *) echo "no comparison was made (exit code $code)" >&2 ;;
esac
exit "$code"
