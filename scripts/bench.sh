#!/usr/bin/env bash
# Builds, measures, and writes the tables and plots of docs/performance.md from what it measured (JSON in
# build/bench). Takes about 20 minutes on two cores, and wants the machine for itself.
#   --quick         few repetitions and fewer cases: shows that it works, no figures to quote
#   --python PY     a Python with torch to compare with (default: /usr/bin/python3, if it has torch)
#   --python2 PY    another one, with another torch
#   --llmc DIR      a built checkout of llm.c (bench/peers/compare.py says what it must contain)
set -euo pipefail

# The absolute path of a program named by a path or found by its name.
absolute() {
  case "$1" in
    */*) echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")" ;;
    *) command -v "$1" ;;
  esac
}

command=scripts/bench.sh quick=false notes=() peers=() python=/usr/bin/python3
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=true notes=(--quick) command+=" --quick"; shift ;;
    --python) python=$(absolute "$2"); shift 2 ;;
    --python2) peers+=(--python2 "$(absolute "$2")") command+=" --python2 PY"; shift 2 ;;
    --llmc) peers+=(--llmc "$(realpath "$2")") command+=" --llmc DIR"; shift 2 ;;
    *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
  esac
done

cd "$(dirname "$0")/.."
scripts/setup.sh --bench
cmake --preset release
cmake --build --preset release --target bench_kernels bench_step
bin=build/release/bin
out=build/bench
rm -rf "$out" && mkdir -p "$out"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}

passes=25 steps=5 few=4 experts=(4 8 16 32) compile_runs=2 rounds=2
# What the models compare in. bf16 is worth its time only where the CPU multiplies it.
precisions=(fp32)
grep -qw avx512_bf16 /proc/cpuinfo && precisions+=(bf16)
$quick && passes=3 steps=2 few=2 experts=(4 8) compile_runs=1 rounds=1

# step NAME FLAGS...: bench_step into NAME.json
step() {
  local name=$1
  shift
  "$bin/bench_step" "$@" --benchmark_out="$out/$name.json" --benchmark_out_format=json
}

compare() {
  if ! "$python" -c "import torch" 2>/dev/null; then
    echo "No torch in $python (apt-get install python3-torch): the comparison with PyTorch is left out." >&2
    return
  fi
  python3 bench/peers/compare.py --python "$python" "${peers[@]}" --precisions "${precisions[@]}" \
    --threads "$OMP_NUM_THREADS" --rounds "$rounds" --steps "$few" --out "$out/peers.json"
}

python3 bench/environment.py "${notes[@]}" --command "$command" --runs "$compile_runs" --out "$out/environment.json"
"$bin/bench_kernels" --passes="$passes" --benchmark_out="$out/kernels.json" --benchmark_out_format=json
step dense --alone --steps "$steps" --model gpt gpt2 vit --precision "${precisions[@]}"
compare
kinds=(bank moe1 moe2)
step experts --steps "$steps" --ffn "${kinds[@]}" --experts "${experts[@]}"
step models --steps "$few" --model gpt2 vit --ffn static learned bank bank_bf16_moments moe1 moe2 --experts 8
step one --steps "$steps" --ffn bank moe1 --experts 1
step rules --steps "$steps" --ffn static learned --experts 8
step tokens --steps "$steps" --ffn "${kinds[@]}" --experts 8 --batch 1 4
step size_128 --steps "$steps" --ffn "${kinds[@]}" --layers 4 --d-model 128 --batch 4
step size_512 --steps "$few" --ffn "${kinds[@]}" --layers 8 --d-model 512 --batch 4
$quick || step size_768 --steps 3 --ffn "${kinds[@]}" --layers 12 --d-model 768 --batch 4
step scaling --steps "$((3 * few))" --batch 8 --double layers batch d_model
/usr/bin/python3 bench/report.py "$out"
