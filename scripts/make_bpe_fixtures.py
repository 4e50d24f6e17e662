#!/usr/bin/env python3
"""Writes tests/fixtures/bpe.json: a small byte-level BPE, the tokens of many texts, and what a text teaches.

Hugging Face's tokenizers (pip) learns the vocabulary from this project's method.md; tokens are those that both it
and tiktoken (pip) compute. Run anew, it writes the same bytes.

    scripts/make_bpe_fixtures.py
"""

import json
import pathlib
import random
import sys

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))
from bpe_texts import END, PATTERN, byte_of_character, random_text  # noqa: E402


def learn(text, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def merges_of(tokenizer):
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, list) else merge.split(" ") for merge in merges]


def cases(tokenizer, texts):
    vocab = {bytes(BYTES[c] for c in token): rank for token, rank in tokenizer.get_vocab().items()}
    other = tiktoken.Encoding("fixture", pat_str=PATTERN, mergeable_ranks=vocab, special_tokens={})
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert ids == other.encode_ordinary(text), text
        yield [text, ids]


BYTES = byte_of_character()
GENERATOR = random.Random(20)
source = (ROOT / "docs/method.md").read_text()
small = learn(source, 599)
texts = ["", "How are", "unbelievable!", "How\nare", "a" * 300, " " * 50 + "x", "don't we'll 'stop' IT'S", source[:2000]]
texts += [random_text(GENERATOR, 30) for _ in range(300)]
model = json.loads(small.to_str())["model"]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
lesson = source[:6000]
learned = learn(lesson, 400)
fixture = {
    "tokenizer": {"added_tokens": [{"id": 599, "content": END, "special": True}], "normalizer": None,
                  "pre_tokenizer": byte_level,
                  "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": model["vocab"],
                            "merges": [" ".join(merge) for merge in merges_of(small)]}},
    "cases": list(cases(small, texts)),
    "learned": {"text": lesson, "vocab_size": 401, "merges": merges_of(learned)},
}
path = ROOT / "tests/fixtures/bpe.json"
path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
print(f"{path.stat().st_size} bytes, {len(fixture['cases'])} texts")
