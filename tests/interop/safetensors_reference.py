#!/usr/bin/env python3
"""Damages safetensors files at random and compares whether `convert inspect` and the reference reader accept them.

Needs pip's safetensors and numpy:

    tests/interop/safetensors_reference.py [--count 10000] [--seed 1] [--bin build/release/bin]

This project's reader refuses a few things on purpose that the reference accepts: they are counted by the reason that
it gives. Anything else that differs is a failure, and so is a crash.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import re
import struct
import subprocess
import tempfile

from safetensors import safe_open

# What is refused on purpose, as the error says it.
STRICTER = {
    "a key twice": r"twice",
    "another dtype": r"dtype",
    "a field that is not known": r"unknown|field",
    "a name with control characters, or a long one": r"control|name|bytes long",
    "text that is not UTF-8": r"UTF-8",
    "metadata that is no text": r"metadata",
    "a rank over the limit": r"rank",
    "an extent over 2^63 - 1": r"over 2\^63",
    "a header that begins with white space": r"must begin with",
}


def file_of(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def sound_files():
    yield file_of({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                   "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}, bytes(range(32)))
    yield file_of({"__metadata__": {"format": "pt", "x": "y"}, "w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]},
                   "empty": {"dtype": "F32", "shape": [0, 7], "data_offsets": [8, 8]}}, bytes(8))
    yield file_of({"a.b": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]},
                   "c": {"dtype": "BOOL", "shape": [1, 1, 2], "data_offsets": [5, 7]},
                   "d": {"dtype": "F16", "shape": [3], "data_offsets": [7, 13]}}, bytes(13))
    yield file_of({}, b"")


def replace(generator, content, pattern, choices):
    """Puts one of the choices in the place of something that the pattern finds in the header."""
    found = [match for match in re.finditer(pattern, bytes(content)) if match[0] in choices]
    if found:
        match = generator.choice(found)
        content[match.start():match.end()] = generator.choice(choices[match[0]])


def damaged(generator, content):
    """One to three random changes, most of them in the header."""
    content = bytearray(content)
    size = struct.unpack("<Q", content[:8])[0]
    for _ in range(generator.choice([1, 1, 2, 3])):
        place = generator.randrange(8, max(9, min(len(content), 8 + size)))
        kind, before = generator.randrange(14), len(content)
        if kind == 0:
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        elif kind == 1 and place < len(content):
            content[place] = generator.choice(b'0123456789,:[]{}"-. eE')
        elif kind == 2:
            content[place:place + 1] = b""
        elif kind == 3:
            content[place:place] = bytes([generator.choice(b'0123456789,[]{}" ')])
        elif kind == 4:
            del content[generator.randrange(len(content)):]
        elif kind == 5:
            content += bytes(generator.randrange(1, 9))
        elif kind == 6:
            numbers = list(re.finditer(rb"\d+", bytes(content[8:8 + size])))
            if numbers:
                number = generator.choice(numbers)
                new = str(generator.choice([0, 1, 7, 24, 2**31, 2**63, 2**64, 4194305])).encode()
                content[8 + number.start():8 + number.end()] = new
        elif kind == 7:
            words = list(re.finditer(rb'"(F32|I64|BF16|U8|BOOL|F16|dtype|shape|data_offsets|a|b|w)"', bytes(content)))
            if words:
                word = generator.choice(words)
                content[word.start():word.end()] = generator.choice(
                    [b'"F64"', b'"F32"', b'"I8"', b'"a"', b'"F8_E4M3"', b'"shape"', b'"U64"', b'""'])
        elif kind == 8:
            content[:8] = struct.pack("<Q", max(0, size + generator.choice([-8, -1, 1, 8])))
        elif kind == 9:  # the same number of elements
            replace(generator, content, rb"\[[0-9,]*\](?=,\"data)",
                    {b"[2,3]": [b"[3,2]", b"[6]", b"[1,6]", b"[6,1,1,1,1,1]", b"[2, 3]"], b"[]": [b"[1]", b"[1,1]"],
                     b"[4]": [b"[2,2]", b"[4,1,1,1,1,1,1,1,1]"], b"[5]": [b"[5,1]"], b"[0,7]": [b"[0]", b"[7,0,9]"]})
        elif kind == 10:  # spaces
            replace(generator, content, rb"[,:{}\[\]]", {mark: [mark + b" ", mark + b"\n", b" " + mark, mark + b"\t"]
                                                       for mark in (b",", b":", b"{", b"}", b"[", b"]")})
        elif kind == 11:  # names
            replace(generator, content, rb'"[abcdw](\.b)?"',
                    {f'"{n}"'.encode(): [b'"x"', b'"\xc3\xa9"', b'"\\u00e9"', b'"\\n"', b'"a\xff"', b'"a b"', b'"' + b"n" * 2000 + b'"',
                                         b'"__metadata__"', b'"/"'] for n in ("a", "b", "w", "a.b", "c", "d")})
        elif kind == 12:  # metadata
            replace(generator, content, rb'"(pt|y)"', {b'"pt"': [b'"np"', b"1", b"null", b"{}"], b'"y"': [b'"\\u0000"', b"[]"]})
        else:  # another type of the same size
            replace(generator, content, rb'"(F32|I64|BF16|U8|BOOL|F16)"',
                    {b'"F32"': [b'"I32"', b'"U32"'], b'"I64"': [b'"F64"', b'"U64"'], b'"BF16"': [b'"F16"', b'"I16"', b'"U16"'],
                     b'"U8"': [b'"I8"', b'"F8_E4M3"'], b'"BOOL"': [b'"U8"'], b'"F16"': [b'"BF16"']})
        if len(content) < 10:
            break
        # Most headers should be as long as they say, or all else would go unseen.
        if kind in (2, 3, 6, 7) or kind > 8:
            size += len(content) - before
            if generator.random() < 0.95:
                content[:8] = struct.pack("<Q", max(0, size))
    return bytes(content)


def accepted_by_reference(path):
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():
                file.get_slice(name).get_shape()
        return True
    except Exception:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    arguments = parser.parse_args()
    generator, program = random.Random(arguments.seed), str(arguments.bin.resolve() / "convert")
    sound = list(sound_files())
    counts, failures = collections.Counter(), []

    def compare(i, content, folder):
        path = folder / f"{i}.safetensors"
        path.write_bytes(content)
        done = subprocess.run([program, "inspect", str(path)], capture_output=True)
        reference = accepted_by_reference(path)
        path.unlink()
        return content, done, reference

    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(2) as pool:
        folder = pathlib.Path(name)
        contents = [*sound, *(damaged(generator, generator.choice(sound)) for _ in range(arguments.count))]
        for content, done, reference in pool.map(lambda pair: compare(*pair, folder), enumerate(contents)):
            error = done.stderr.decode(errors="replace")
            if done.returncode not in (0, 2):
                failures.append(("crash", done.returncode, content))
            elif (done.returncode == 0) == reference:
                counts["accepted by both" if reference else "refused by both"] += 1
            elif done.returncode == 0:
                failures.append(("accepted here alone", "", content))
            elif reason := next((name for name, words in STRICTER.items() if re.search(words, error)), None):
                counts[f"refused here alone: {reason}"] += 1
            else:
                failures.append(("refused here alone", error, content))
    for what, count in sorted(counts.items()):
        print(f"{count:6d} {what}")
    for what, error, content in failures[:10]:
        print(f"FAILED {what}: {error}\n       {content!r}")
    raise SystemExit(f"{len(failures)} failures" if failures else 0)


if __name__ == "__main__":
    main()
