#!/usr/bin/env python3
"""Compares the tokens of `tokenize` with those of tiktoken and of Hugging Face's tokenizers (pip).

    tests/interop/bpe.py GPT2_FOLDER [--bin build/release/bin] [FILE...]

GPT2_FOLDER has encoder.json and vocab.bpe. Compared are the FILEs, this project's own sources, and 10,000 random
strings of all planes of Unicode with emoji and mixed white space; then, for each FILE, a vocabulary of 4096 tokens
learned from it, and the tokens in that vocabulary.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import numpy as np
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bpe_texts import END, PATTERN, byte_of_character, random_text

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def tokens_of(programs, tokenizer, texts, folder):
    """What `tokenize` makes of each text."""
    names = []
    for i, text in enumerate(texts):
        (folder / f"{i}").write_bytes(text.encode())
        names.append(f"{i}")
    done = subprocess.run([str(programs / "tokenize"), *names, "--tokenizer", str(tokenizer), "--out", "out"],
                          cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    print("      " + done.stdout.splitlines()[-1])
    ids = np.concatenate([np.fromfile(folder / "out" / name, dtype=np.uint16) for name in ("train.bin", "val.bin")])
    saved = json.loads((folder / "out/tokenizer.json").read_text())
    end = next(token["id"] for token in saved["added_tokens"] if token["content"] == END)
    return [part[:-1].tolist() if len(part) and part[-1] == end else part.tolist()
            for part in np.split(ids, np.flatnonzero(ids == end) + 1)][:len(texts)], saved


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gpt2", type=pathlib.Path)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    arguments = parser.parse_intermixed_args()
    programs, files = arguments.bin.resolve(), [pathlib.Path(file).read_text() for file in arguments.files]
    generator = random.Random(5)
    texts = [random_text(generator, 60) for _ in range(10_000)]
    listed = subprocess.run(["git", "ls-files", "-z", "*.hpp", "*.cpp", "*.py", "*.md", "*.sh"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    texts += [(ROOT / name).read_text() for name in listed.split("\0") if name and (ROOT / name).exists()]
    texts += ["a" * 5000, " " * 5000 + "x", "\n" * 999, *files]

    failures = 0

    def expect(holds, what):
        nonlocal failures
        print(f"{'ok    ' if holds else 'FAILED'} {what}")
        failures += not holds

    decode = byte_of_character()
    vocab = json.loads((arguments.gpt2 / "encoder.json").read_text())
    ranks = {bytes(decode[c] for c in token): rank for token, rank in vocab.items() if token != END}
    theirs = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    others = Tokenizer(models.BPE.from_file(str(arguments.gpt2 / "encoder.json"), str(arguments.gpt2 / "vocab.bpe")))
    others.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with tempfile.TemporaryDirectory() as folder:
        ours, _ = tokens_of(programs, arguments.gpt2.resolve(), texts, pathlib.Path(folder))
    expect(len(ours) == len(texts), f"{len(texts)} texts, {sum(map(len, ours))} tokens")
    expect(all(a == theirs.encode_ordinary(t) for a, t in zip(ours, texts)), "equal tiktoken's, each of them")
    expect(all(a == others.encode(t).ids for a, t in zip(ours, texts)), "equal tokenizers', each of them")

    for name, text in zip(arguments.files, files):
        with tempfile.TemporaryDirectory() as folder:
            ours, saved = tokens_of(programs, "bpe:4096", [text], pathlib.Path(folder))
            loaded = Tokenizer.from_file(str(pathlib.Path(folder) / "out/tokenizer.json"))
        learned = Tokenizer(models.BPE())
        learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        learned.train_from_iterator([text], trainers.BpeTrainer(
            vocab_size=4095, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        merges = json.loads(learned.to_str())["model"]["merges"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
        expect(saved["model"]["merges"] == merges, f"{name}: {len(merges)} merges learned as tokenizers learns them")
        expect(loaded.encode(text).ids == ours[0], f"{name}: tokenizers reads tokenizer.json, and gives the same tokens")
    raise SystemExit(f"{failures} failures" if failures else 0)


if __name__ == "__main__":
    main()
