#!/usr/bin/env python3
"""Writes tests/fixtures/bpe.json: a small byte-level BPE, the tokens of many texts, and what a text teaches.

Hugging Face's tokenizers (pip) learns the vocabulary from this project's method.md; tokens are those that both it
and tiktoken (pip) compute. Run anew, it writes the same bytes.

    scripts/make_bpe_fixtures.py
"""

import json
import pathlib
import random

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACES = [9, 10, 11, 12, 13, 32, 32, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
          0x3000, 0x200B, 0x180E]


def learn(text, vocab_size, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tokenizer.add_special_tokens(special)
    return tokenizer


def merges_of(tokenizer):
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, list) else merge.split(" ") for merge in merges]


def byte_of_character():
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(rest)}


def random_character(generator):
    kind = generator.random()
    if kind < 0.25:
        return chr(generator.choice(SPACES))
    if kind < 0.6:
        return chr(generator.randrange(32, 127))
    if kind < 0.7:
        return generator.choice(["'", "'s", "'ll", "'re", "'T", "'d", " the", "ing"])
    if kind < 0.75:
        return chr(generator.randrange(0x1F300, 0x1FAFF))
    if kind < 0.9:
        return chr(generator.choice([generator.randrange(0x80, 0xD800), generator.randrange(0xE000, 0x10000)]))
    return chr(generator.randrange(0x10000, 0x110000))


def cases(tokenizer, texts):
    vocab = {bytes(BYTES[c] for c in token): rank for token, rank in tokenizer.get_vocab().items() if token[0] != "<" or len(token) < 5}
    other = tiktoken.Encoding("fixture", pat_str=PATTERN, mergeable_ranks=vocab, special_tokens={})
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert ids == other.encode_ordinary(text), text
        yield [text, ids]


BYTES = byte_of_character()
GENERATOR = random.Random(20)
source = (ROOT / "docs/method.md").read_text()
small = learn(source, 599, ["<|endoftext|>"])
texts = ["", "How are", "unbelievable!", "How\nare", "a" * 300, " " * 50 + "x", "don't we'll 'stop' IT'S", source[:2000]]
texts += ["".join(random_character(GENERATOR) for _ in range(GENERATOR.randrange(1, 30))) for _ in range(300)]
model = json.loads(small.to_str())["model"]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
lesson = source[:6000]
learned = learn(lesson, 400, [])
fixture = {
    "tokenizer": {"added_tokens": [{"id": 599, "content": "<|endoftext|>", "special": True}], "normalizer": None,
                  "pre_tokenizer": byte_level,
                  "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": model["vocab"],
                            "merges": [" ".join(merge) for merge in merges_of(small)]}},
    "cases": list(cases(small, texts)),
    "learned": {"text": lesson, "vocab_size": 401, "merges": merges_of(learned)},
}
path = ROOT / "tests/fixtures/bpe.json"
path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
print(f"{path.stat().st_size} bytes, {len(fixture['cases'])} texts")
