#!/usr/bin/env bash
# Formats all sources; with --check only says what is not formatted, and fails then.
set -euo pipefail
cd "$(dirname "$0")/.."
formatter=$(command -v clang-format-14 || command -v clang-format)
mode=(-i)
[ "${1:-}" = "--check" ] && mode=(--dry-run -Werror)
git ls-files -z '*.hpp' '*.cpp' | xargs -0 "$formatter" "${mode[@]}"
