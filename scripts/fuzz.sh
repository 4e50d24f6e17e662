#!/usr/bin/env bash
# Feeds random inputs to everything that reads outside data, two fuzzers at a time. Takes the names of targets
# (tests/fuzz/*.cpp); without any: all of them. What it finds stays in build/fuzz/found/<target>/.
#   --seconds N   of each target (60)
#   --runs N      inputs for each target, in whatever time they take
set -euo pipefail
cd "$(dirname "$0")/.."

limit=(-max_total_time=60)
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) limit=("-max_total_time=$2"); shift ;;
    --runs) limit=("-runs=$2"); shift ;;
    -*) echo "Usage: scripts/fuzz.sh [--seconds N | --runs N] [TARGET...]" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls tests/fuzz/corpus)

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz

fuzz() {
  local target=$1 longest work=build/fuzz/found/$1
  shift
  mkdir -p "$work/corpus"
  # Inputs as long as the longest that is kept, and then some: longer ones are slower and find no more.
  longest=$(find "tests/fuzz/corpus/$target" -type f -printf '%s\n' | sort -n | tail -1)
  if ! "build/fuzz/bin/fuzz_$target" "$@" -entropic=0 -timeout=20 -max_len=$((longest + longest / 4)) -print_final_stats=1 \
    -artifact_prefix="$work/" "$work/corpus" "tests/fuzz/corpus/$target" >"$work/log" 2>&1; then
    echo "$target: FAILED"
    grep -vE '^#[0-9]+' "$work/log"
    return 1
  fi
  awk -v target="$target" '/number_of_executed_units/ {runs = $2} /average_exec_per_sec/ {rate = $2}
    END {printf "%s: %d inputs, %d a second\n", target, runs, rate}' "$work/log"
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'fuzz "$@"' fuzz {} "${limit[@]}"
