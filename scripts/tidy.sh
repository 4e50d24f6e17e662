#!/usr/bin/env bash
# Checks the kernels, the programs and, through a few tests, every public header with clang-tidy 14. Takes regular
# expressions of source files to check others: `scripts/tidy.sh /tests/optim/`, or all with `scripts/tidy.sh .`.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset clang >/dev/null
[ $# -gt 0 ] || set -- "$PWD/build/clang/compiled/" "$PWD/examples/" /tests/umbrella/ \
  /tests/core/eigen_test /tests/kernels/gemm_test /tests/ops/linear_test
run-clang-tidy-14 -quiet -p build/clang -j "$(nproc)" "$@"
