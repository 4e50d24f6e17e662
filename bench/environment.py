"""Writes JSON: the machine, the compiler, the date, and seconds that compiling takes (the best of some runs).

Compiled are the umbrella header with the kernels compiled elsewhere, as with exfusion::compiled, and
examples/minimal.cpp, a whole trainer, with everything in headers.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def first_match(pattern, path):
    match = re.search(pattern, pathlib.Path(path).read_text(), re.MULTILINE)
    return match[1] if match else ""


def compile_seconds(compiler, source, flags, runs):
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-std=c++20", "-O3", "-march=native", "-fopenmp", f"-I{ROOT}/include",
                   "-isystem", "/usr/include/eigen3", *flags, "-c", source, "-o", f"{folder}/out.o"]
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            subprocess.run(command, check=True)
            times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="note that the figures are not to be quoted")
    parser.add_argument("--command", default="scripts/bench.sh", help="what measures")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    version = subprocess.run([options.compiler, "--version"], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        umbrella = pathlib.Path(folder, "umbrella.cpp")
        umbrella.write_text("#include <exfusion/exfusion.hpp>\n")
        seconds = {
            "umbrella_compiled": compile_seconds(options.compiler, umbrella, ["-DEXFUSION_COMPILED"], options.runs),
            "minimal_header_only": compile_seconds(options.compiler, ROOT / "examples/minimal.cpp", [], options.runs),
        }
    result = {
        "cpu": first_match(r"^model name\s*: (.*)$", "/proc/cpuinfo"),
        "features": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
                     if name in first_match(r"^flags\s*: (.*)$", "/proc/cpuinfo").split()],
        "cpus": len(os.sched_getaffinity(0)),
        "memory_GB": int(first_match(r"^MemTotal:\s+(\d+)", "/proc/meminfo")) * 1024 / 1e9,
        "system": f"{platform.system()} {platform.release()}",
        "compiler": version.splitlines()[0],
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "command": options.command,
        "compile_seconds": seconds,
    }
    pathlib.Path(options.out).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
