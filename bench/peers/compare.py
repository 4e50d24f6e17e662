"""Runs bench_step (dense and fused) and PyTorch in turns, so that all meet the same neighbours and clock rates.

Prints the median and the best step of each, and the ratio of the medians to PyTorch's.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=HERE.parents[1] / "build/release/bin/bench_step")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of each program in a round")
    options = parser.parse_args()
    peer = [options.python, str(HERE / "pytorch_step.py"), "--threads", str(options.threads)]
    commands = {
        "pytorch": [*peer, "--steps", str(options.steps)],
        "dense": [str(options.bench), "dense", str(options.steps)],
        "fused": [str(options.bench), "fused", str(options.steps)],
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    times = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            times[name] += json.loads(output)["ms"]
    reference = statistics.median(times["pytorch"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:8} median {median:8.1f} ms  best {min(values):8.1f} ms  {median / reference:5.2f} x PyTorch")


if __name__ == "__main__":
    main()
