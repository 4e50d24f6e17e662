"""Runs bench_step, PyTorch and llm.c on the same models in turns, so that all meet the same neighbours and
clock rates, each turn in a process of its own.

Prints a table: the median of each program's rounds, each the median of its steps; the median over the rounds of
how many times as long as ExFusion's dense step that is; and the most memory that the program held. PyTorch is any
Python that has torch; --python2 takes a second one. --llmc takes a checkout of llm.c in which `make train_gpt2`
and its download of the starter pack have run (train_gpt2, gpt2_124M.bin, gpt2_tokenizer.bin, and tinyshakespeare
under dev/data): it trains GPT-2 124M on 4 x 64 tokens, the shape of gpt2 here.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
OURS = "ExFusion dense"


def run_json(command, environment):
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def run_ours(options, model, precision, ffn):
    command = [options.bench, "--alone", f"--steps={options.steps}", "--model", model, "--precision", precision,
               "--ffn", ffn, f"--experts={options.experts}", "--benchmark_format=json"]
    result = run_json(command, options.environment)["benchmarks"][0]
    return {"ms": [result["ms"]], "peak_RSS_MB": result["peak_RSS_MB"]}


def run_pytorch(options, model, precision, python):
    command = [python, HERE / "pytorch_step.py", f"--threads={options.threads}", f"--steps={options.steps}",
               "--model", model, "--precision", precision]
    return run_json(command, options.environment)


def run_llmc(options):
    """Reads the times of its first steps, and ends it: it has no option for their number."""
    times, peak = [], 0.0
    command = ["stdbuf", "-oL", "./train_gpt2"]
    with subprocess.Popen(command, cwd=options.llmc, env=options.environment, stdout=subprocess.PIPE,
                          text=True) as process:
        for line in process.stdout:
            if match := re.search(r"^step \d+:.*took ([\d.]+) ms", line):
                times.append(float(match[1]))
            if len(times) > options.steps:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6
                process.kill()
                break
    if len(times) < 2:
        raise SystemExit(f"llm.c in {options.llmc} printed no times of steps")
    return {"ms": times[1:], "peak_RSS_MB": peak}


def pytorch_name(python):
    command = [python, "-c", "import torch; print(torch.__version__)"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "PyTorch " + version


def programs(options, model, precision):
    """Name to function that runs one turn."""
    result = {
        OURS: lambda: run_ours(options, model, precision, "dense"),
        f"ExFusion {options.experts} experts": lambda: run_ours(options, model, precision, "bank"),
    }
    for python in filter(None, [options.python, options.python2]):
        result[pytorch_name(python)] = lambda python=python: run_pytorch(options, model, precision, python)
    if options.llmc and model == "gpt2" and precision == "fp32":
        result["llm.c"] = lambda: run_llmc(options)
    return result


def run_turns(options, chosen):
    """Name to results, one a round. A program that fails is left out from then on."""
    turns = {name: [] for name in chosen}
    for _ in range(options.rounds):
        for name, run in chosen.items():
            if name not in turns:
                continue
            try:
                turns[name].append(run())
            except subprocess.CalledProcessError as error:
                print(f"{name} failed and is left out: {error.stderr.strip()[-500:]}", file=sys.stderr)
                del turns[name]
    if OURS not in turns:
        raise SystemExit(f"{options.bench} failed")
    return turns


def compare(options, model, precision):
    turns = run_turns(options, programs(options, model, precision))
    medians = {name: [statistics.median(result["ms"]) for result in results] for name, results in turns.items()}
    rows = []
    for name, results in turns.items():
        # Ratios within a round: clock rates differ more between rounds than within one.
        ratio = statistics.median(ms / ours for ms, ours in zip(medians[name], medians[OURS]))
        rows.append({"model": model, "precision": precision, "program": name, "ms": statistics.median(medians[name]),
                     "ratio": ratio, "peak_RSS_MB": max(r["peak_RSS_MB"] for r in results),
                     "import_RSS_MB": results[0].get("import_RSS_MB")})
        print(f"{model:6} {precision:5} {name:22} {rows[-1]['ms']:9.1f} ms  {ratio:5.2f} x  "
              f"{rows[-1]['peak_RSS_MB']:7.0f} MB", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=str(HERE.parents[1] / "build/release/bin/bench_step"))
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch")
    parser.add_argument("--python2", help="another one, with another torch")
    parser.add_argument("--llmc", help="a built checkout of llm.c")
    parser.add_argument("--models", nargs="+", default=["gpt", "gpt2", "vit"])
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of each program in a round")
    parser.add_argument("--out", help="file for the table in JSON")
    options = parser.parse_args()
    options.environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    rows = []
    for model in options.models:
        for precision in options.precisions:
            rows += compare(options, model, precision)
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps({"rounds": options.rounds, "steps": options.steps,
                                                         "threads": options.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
