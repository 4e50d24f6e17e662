#!/usr/bin/env bash
# Ends training runs at bad moments and checks that nothing is lost (docs/reliability.md):
#   scripts/torture.sh kill [COUNT]                        kill -9, mostly while a checkpoint is written
#   scripts/torture.sh interrupt [COUNT] [--minutes M] [--data FILE]   a long run, interrupted at random
#   scripts/torture.sh cost [COUNT]                        what a checkpoint every 20 steps costs
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
cmake --preset release >/dev/null
cmake --build --preset release --target train_gpt
exec python3 tests/torture/torture.py --program build/release/bin/train_gpt "$@"
