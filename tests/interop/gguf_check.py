#!/usr/bin/env python3
"""Checks a GGUF file that `convert to-gguf` wrote against the model that it came from.

Needs pip's gguf, safetensors and numpy:

    tests/interop/gguf_check.py FOLDER [--bin build/release/bin]

FOLDER is a GPT-2 in Hugging Face's layout with a tokenizer.json. For F32, F16 and BF16, names, shapes, values, keys and
the tokenizer must be what the package gguf reads.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
from safetensors.numpy import load_file

CONV1D = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def value_of(field):
    parts = [field.parts[i] for i in field.data]
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        if field.types[1] == gguf.GGUFValueType.STRING:
            return [bytes(part).decode() for part in parts]
        return [part.item() for part in parts]
    return bytes(parts[0]).decode() if field.types[0] == gguf.GGUFValueType.STRING else parts[0].item()


def check(programs, folder, dtype, expected, tokenizer, path):
    subprocess.run([str(programs / "convert"), "to-gguf", str(folder), str(path), "--dtype", dtype, "--overwrite"], check=True)
    reader = gguf.GGUFReader(path)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, expected["n_layer"])
    weights = {name.removeprefix("transformer."): array for name, array in load_file(folder / "model.safetensors").items()}
    wanted = {}
    for name, array in weights.items():
        stem, suffix = name.rsplit(".", 1)
        wanted[f"{names.get_name(f'transformer.{stem}') or names.get_name(stem)}.{suffix}"] = array.T if name.endswith(CONV1D) else array
    wanted["output.weight"] = wanted["token_embd.weight"]
    assert {tensor.name for tensor in reader.tensors} == wanted.keys(), wanted.keys() ^ {t.name for t in reader.tensors}
    relative = {"f32": 0, "f16": 2**-11, "bf16": 2**-8}[dtype]
    for tensor in reader.tensors:
        array = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(wanted[tensor.name].shape)
        assert list(tensor.shape) == list(reversed(wanted[tensor.name].shape)), tensor.name
        kept = tensor.n_elements and (len(tensor.shape) == 1 or tensor.name == "position_embd.weight")
        bound = np.abs(wanted[tensor.name]) * (0 if kept else relative) + (2**-25 if dtype == "f16" and not kept else 0)
        assert (np.abs(array - wanted[tensor.name]) <= bound).all(), tensor.name
    values = {key: value_of(field) for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    for key, value in {"general.architecture": "gpt2", "gpt2.context_length": expected["n_positions"],
                       "gpt2.embedding_length": expected["n_embd"], "gpt2.block_count": expected["n_layer"],
                       "gpt2.feed_forward_length": expected["n_inner"] or 4 * expected["n_embd"],
                       "gpt2.attention.head_count": expected["n_head"],
                       "gpt2.attention.layer_norm_epsilon": np.float32(expected["layer_norm_epsilon"]).item(),
                       "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2"}.items():
        assert values[key] == value, (key, values[key], value)
    vocab = tokenizer["model"]["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    special = {t["id"] for t in tokenizer["added_tokens"]}
    tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert {token: i for i, token in enumerate(tokens)} == vocab
    assert types == [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    assert values["tokenizer.ggml.merges"] == merges
    if "<|endoftext|>" in vocab:
        assert values["tokenizer.ggml.eos_token_id"] == values["tokenizer.ggml.bos_token_id"] == vocab["<|endoftext|>"]
    print(f"ok     {dtype}: {len(reader.tensors)} tensors, {len(values)} keys, {len(tokens)} tokens, {len(merges)} merges")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    arguments = parser.parse_args()
    expected = json.loads((arguments.folder / "config.json").read_text())
    tokenizer = json.loads((arguments.folder / "tokenizer.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("f32", "f16", "bf16"):
            check(arguments.bin.resolve(), arguments.folder, dtype, expected, tokenizer, pathlib.Path(folder) / "model.gguf")


if __name__ == "__main__":
    main()
