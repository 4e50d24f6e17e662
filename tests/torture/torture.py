#!/usr/bin/env python3
"""Ends training runs at bad moments and checks that nothing is lost. See scripts/torture.sh."""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time


def read_checkpoint(path):
    """The tensors of a checkpoint as bytes, and the run's state without the time it took."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    metadata = header.pop("__metadata__")
    state = json.loads(metadata["state"])
    state.pop("seconds")
    data = memoryview(content)[8 + size:]
    arrays = {name: bytes(data[slice(*tensor["data_offsets"])]) for name, tensor in header.items()}
    return arrays, state


def newest_checkpoint(run):
    """The file with the largest step, and that step; (None, 0) when there is none."""
    steps = [int(m[1]) for p in (run / "checkpoints").glob("step-*.safetensors")
             if (m := re.fullmatch(r"step-(\d+)\.safetensors", p.name))]
    return (run / "checkpoints" / f"step-{max(steps)}.safetensors", max(steps)) if steps else (None, 0)


def fail(message):
    sys.exit(f"FAILED: {message}")


def expect_equal(a, b):
    arrays_a, state_a = read_checkpoint(a)
    arrays_b, state_b = read_checkpoint(b)
    if state_a != state_b:
        fail(f"the states of {a} and {b} differ: {state_a} and {state_b}")
    if arrays_a.keys() != arrays_b.keys():
        fail(f"{a} and {b} hold different arrays")
    for name, content in arrays_a.items():
        if content != arrays_b[name]:
            fail(f"{name} differs between {a} and {b}")
    return len(arrays_a)


class Session:
    """One process of a run."""

    def __init__(self, program, arguments, log):
        self.log = log
        self.process = subprocess.Popen([program, *arguments], stdout=log.open("wb"), stderr=subprocess.STDOUT)

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, condition, seconds=60):
        """Polls until `condition()` holds; False when the process ended or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return condition()
            time.sleep(0.0005)
        return False

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait()


# Large enough that writing a checkpoint takes a while, small enough that steps are short.
KILL_MODEL = ["--data", "builtin", "--layers", "4", "--d-model", "128", "--context", "32", "--batch", "2",
              "--accumulate", "2", "--steps", "1000000", "--dropout", "0.1", "--ema", "0.9", "--eval-interval", "50",
              "--eval-batches", "2", "--checkpoint-interval", "1", "--log-interval", "1"]


def acknowledged(text):
    return max((int(step) for step in re.findall(r"checkpoint of step (\d+) saved", text)), default=0)


def kill(arguments):
    """kill -9 at random moments, at least half of them while a checkpoint is written."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exfusion-torture-"))
    run, log = folder / "run", folder / "log"
    last_acknowledged, inside, resumed = 0, 0, 0
    generator = random.Random(arguments.seed)
    for i in range(arguments.count):
        session = Session(arguments.program, [*KILL_MODEL, "--out", str(run), "--resume", "auto"], log)
        if not session.wait_for(lambda: re.search(rb"step +\d+/", log.read_bytes())):
            fail(f"session {i} did not start:\n{session.text()}")
        text = session.text()
        found = re.search(r"goes on after step (\d+)", text)
        step = int(found[1]) if found else 0
        resumed += found is not None
        if step < last_acknowledged:
            fail(f"session {i} goes on after step {step}, but step {last_acknowledged} was acknowledged:\n{text}")
        if "hash" in text or "trying the checkpoint before" in text:
            fail(f"session {i} found a damaged checkpoint:\n{text}")
        while_writing = generator.random() < 0.8
        checkpoints = run / "checkpoints"
        if while_writing:
            session.wait_for(lambda: any(checkpoints.glob("*.tmp")))
            time.sleep(generator.random() * 0.01)
        else:
            time.sleep(generator.random() * 0.3)
        if (code := session.end(signal.SIGKILL)) != -signal.SIGKILL:
            fail(f"session {i} ended by itself with code {code}:\n{session.text()[-2000:]}")
        inside += any(checkpoints.glob("*.tmp"))
        last_acknowledged = max(last_acknowledged, acknowledged(session.text()))
        if (i + 1) % 100 == 0:
            print(f"{i + 1} kills, {inside} while a checkpoint was written, "
                  f"{resumed} sessions went on, step {last_acknowledged} acknowledged", flush=True)
    # What all the sessions together have trained is what one session trains.
    end = str(newest_checkpoint(run)[1] + 5)
    for out, more in ((run, ["--resume", "auto"]), (folder / "straight", [])):
        Session(arguments.program, [*KILL_MODEL, "--out", str(out), "--stop-after", end, *more], log).process.wait()
    count = expect_equal(newest_checkpoint(run)[0], newest_checkpoint(folder / "straight")[0])
    print(f"{arguments.count} kills, {inside} while a checkpoint was written: nothing lost; after step {end} all "
          f"{count} arrays equal those of a run that was never killed")
    if 2 * inside < arguments.count:
        fail("fewer than half of the kills came while a checkpoint was written")
    shutil.rmtree(folder)


def interrupt(arguments):
    """A long run interrupted at random moments ends with the bits of one that is not. Both run at once, on one
    thread each."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exfusion-torture-"))
    model = ["--data", arguments.data, "--threads", "1", "--layers", "4", "--d-model", "128", "--batch", "16",
             "--ema", "0.99", "--dropout", "0.1", "--eval-interval", "200", "--eval-batches", "20",
             "--checkpoint-minutes", "1"]
    begin = time.monotonic()
    Session(arguments.program, [*model, "--steps", "40", "--out", str(folder / "probe")], folder / "log").process.wait()
    text = (folder / "log").read_text()
    speed = float(re.findall(r"([\d.]+)k tokens/s", text)[-1]) * 1000
    # Two runs share the machine, and evaluations take a part of the time.
    steps = str(max(100, int(60 * arguments.minutes * speed * 0.8 / (16 * 128))))
    print(f"{steps} steps, about {arguments.minutes} minutes", flush=True)
    begin = time.monotonic()
    straight = Session(arguments.program, [*model, "--steps", steps, "--out", str(folder / "straight")], folder / "log0")
    generator = random.Random(arguments.seed)
    moments = sorted(generator.uniform(0.02, 0.95) * 60 * arguments.minutes for _ in range(arguments.count))
    run = folder / "stopped"
    for i in range(arguments.count + 1):
        session = Session(arguments.program, [*model, "--steps", steps, "--out", str(run), "--resume", "auto"],
                          folder / f"log{i + 1}")
        if i < arguments.count:
            session.wait_for(lambda: time.monotonic() - begin > moments[i], 1e9)
            if session.process.poll() is not None:
                fail(f"the run was over before interruption {i + 1}:\n{session.text()[-2000:]}")
            how = generator.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
            code = session.end(how)
            print(f"{time.monotonic() - begin:.0f} s: {how.name}, exit code {code}, step {newest_checkpoint(run)[1]} saved",
                  flush=True)
            if code != (-signal.SIGKILL if how == signal.SIGKILL else 130):
                fail(session.text()[-2000:])
    for one in (straight, session):
        if one.process.wait() != 0:
            fail(one.text()[-2000:])
    count = expect_equal(newest_checkpoint(run)[0], newest_checkpoint(folder / "straight")[0])
    if (run / "model.safetensors").read_bytes() != (folder / "straight" / "model.safetensors").read_bytes():
        fail("the exported models differ")
    print(f"{time.monotonic() - begin:.0f} s: {count} arrays and the exported model equal those of a run that was not "
          "interrupted")
    shutil.rmtree(folder)


def cost(arguments):
    """What a checkpoint every 20 steps costs, against none: runs in turns, training time only."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exfusion-torture-"))
    model = ["--data", "builtin", "--layers", "6", "--heads", "6", "--d-model", "384", "--context", "256", "--batch", "16",
             "--experts", "4", "--steps", str(arguments.steps), "--stop-after", str(arguments.steps - 1),
             "--eval-interval", "0", "--log-interval", "1", "--checkpoint-minutes", "0", "--overwrite"]
    ratios = []
    for _ in range(arguments.count):
        seconds = []
        for interval in ("0", "20"):
            log = folder / "log"
            Session(arguments.program, [*model, "--out", str(folder / "run"), "--checkpoint-interval", interval],
                    log).process.wait()
            rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
            at = {row["step"]: row["seconds"] for row in rows if row["kind"] == "train"}
            seconds.append(at[arguments.steps - 1] - at[25])  # after the first, which takes memory
        ratios.append(seconds[1] / seconds[0])
        print(f"{seconds[0]:.2f} s without, {seconds[1]:.2f} s with checkpoints: {100 * (ratios[-1] - 1):+.2f} %", flush=True)
    print(f"median {100 * (statistics.median(ratios) - 1):+.2f} %")
    shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    commands = parser.add_subparsers(required=True)
    for function, count in ((kill, 100), (interrupt, 5), (cost, 5)):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("count", type=int, nargs="?", default=count)
        command.add_argument("--seed", type=int, default=int(time.time()))
        if function is interrupt:
            command.add_argument("--minutes", type=float, default=30)
            command.add_argument("--data", default="builtin")
        if function is cost:
            command.add_argument("--steps", type=int, default=86)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    print(f"seed {arguments.seed}", flush=True)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
