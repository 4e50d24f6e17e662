#!/usr/bin/env bash
# Builds tests with sanitizers and runs them, two at a time: scripts/sanitize.sh asan|tsan [REGEX]. REGEX
# chooses among the names of the test programs, such as kernels_gemm_test (docs/reliability.md).
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  asan) default='^(core|kernels|optim|io|data|train|fuzz)_' ;;
  tsan) default='^(kernels|optim|autograd)_|^data_.*loader_|^train_(checkpoint_manager|training_run)_' ;;
  *) echo "Usage: scripts/sanitize.sh asan|tsan [REGEX]" >&2; exit 2 ;;
esac
preset=$1 chosen=${2:-$default}
# It puts itself between the program and libc's open, write and rename, and so do the sanitizers.
left_out='^train_power_loss_test$'

if [ "$preset" = tsan ]; then
  # Without Archer, which tells of the end of a parallel region, each would be reported as a race.
  archer=$(find /usr/lib/llvm-*/lib -name libarcher.so 2>/dev/null | sort -V | tail -1)
  [ -n "$archer" ] || { echo "libarcher.so is missing: run scripts/setup.sh --dev" >&2; exit 1; }
  export OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS=ignore_noninstrumented_modules=1
fi
export OMP_WAIT_POLICY=passive

cmake --preset "$preset" >/dev/null
mapfile -t tests < <(ninja -C "build/$preset" -t targets all | sed -n 's/^\([a-z0-9_]*_test\): phony$/\1/p' |
  grep -v '^cmake_' | grep -E "$chosen" | grep -vE "$left_out" | sort -u)
[ ${#tests[@]} -gt 0 ] || { echo "no test program matches $chosen" >&2; exit 2; }
cmake --build --preset "$preset" --target "${tests[@]}"

run() {
  local log=build/$1/$2.log
  if "build/$1/bin/$2" >"$log" 2>&1; then echo "$2: $(tail -1 "$log")"; else
    echo "$2: FAILED"
    cat "$log"
    return 1
  fi
}
export -f run
printf '%s\n' "${tests[@]}" | xargs -P 2 -I{} bash -c 'run "$@"' run "$preset" {}
