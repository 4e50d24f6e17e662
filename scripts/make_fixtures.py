#!/usr/bin/python3
"""Writes tests/fixtures/*.safetensors, what tests/models/pytorch_parity_test.cpp compares the library with.

Each file holds a small model's weights and inputs and what PyTorch computes from them: logits, loss, every
gradient ("grad.<name>") and the losses before and after each of ten AdamW steps. The weights are 32-bit numbers,
the arithmetic is 64-bit on one thread, the results are rounded to 32 bits: running this again writes the same
bytes. Needs Debian's python3-torch (1.13) and python3-numpy.

    scripts/make_fixtures.py [FOLDER]        default: tests/fixtures beside this script's folder
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

STEPS = 10


def write_safetensors(path, tensors):
    """tensors: name -> numpy array of float32 or int32."""
    dtypes = {np.dtype("float32"): "F32", np.dtype("int32"): "I32"}
    header, offset = {}, 0
    for name in sorted(tensors):
        end = offset + tensors[name].nbytes
        header[name] = {"dtype": dtypes[tensors[name].dtype], "shape": list(tensors[name].shape),
                        "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensors[name].tobytes() for name in sorted(tensors))
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Weights(dict):
    """Name -> leaf tensor, drawn in 32 bits and held in 64."""

    def __init__(self, seed):
        super().__init__()
        self.random = np.random.RandomState(seed)

    def draw(self, name, shape, std, mean=0.0):
        values = np.float32(mean + std * self.random.standard_normal(shape))
        self[name] = torch.tensor(values, dtype=torch.float64, requires_grad=True)

    def linear(self, name, d_in, d_out):
        self.draw(name + ".weight", (d_out, d_in), 1 / math.sqrt(d_in))
        self.draw(name + ".bias", (d_out,), 0.1)

    def norm(self, name, d):
        self.draw(name + ".weight", (d,), 0.1, mean=1.0)
        self.draw(name + ".bias", (d,), 0.1)

    def block(self, name, d, d_ff):
        self.norm(name + ".norm1", d)
        self.linear(name + ".attention.qkv", d, 3 * d)
        self.linear(name + ".attention.projection", d, d)
        self.norm(name + ".norm2", d)
        self.linear(name + ".ffn.up", d, d_ff)
        self.linear(name + ".ffn.down", d_ff, d)


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def norm(w, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)


def attention(w, name, x, heads, causal):
    batch, length, d = x.shape
    q, k, v = (part.view(batch, length, heads, d // heads).transpose(1, 2)
               for part in linear(w, name + ".qkv", x).split(d, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(d // heads)
    if causal:
        future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        scores = scores.masked_fill(future, -math.inf)
    mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, length, d)
    return linear(w, name + ".projection", mixed)


def block(w, name, x, heads, causal, eps, gelu):
    x = x + attention(w, name + ".attention", norm(w, name + ".norm1", x, eps), heads, causal)
    hidden = F.gelu(linear(w, name + ".ffn.up", norm(w, name + ".norm2", x, eps)), approximate=gelu)
    return x + linear(w, name + ".ffn.down", hidden)


def gpt():
    """GPT-2's shape: 2 layers, d 32, 4 heads, context 12, vocabulary 29, GELU in its tanh form, tied head."""
    layers, d, heads, length, batch, vocabulary = 2, 32, 4, 12, 3, 29
    w = Weights(1)
    w.draw("wte", (vocabulary, d), 0.3)
    w.draw("wpe", (length, d), 0.1)
    for layer in range(layers):
        w.block(f"blocks.{layer}", d, 4 * d)
    w.norm("norm", d)
    tokens = w.random.randint(0, vocabulary, (batch, length)).astype(np.int32)
    targets = w.random.randint(0, vocabulary, (batch, length)).astype(np.int32)
    targets[0, :2] = -100  # ignored

    def logits():
        x = F.embedding(torch.from_numpy(tokens).long(), w["wte"]) + w["wpe"]
        for layer in range(layers):
            x = block(w, f"blocks.{layer}", x, heads, True, 1e-5, "tanh")
        return F.linear(norm(w, "norm", x, 1e-5), w["wte"])

    return w, {"tokens": tokens, "targets": targets}, logits, dict(betas=(0.9, 0.95), weight_decay=0.1), {}


def vit():
    """ViT: 2 layers, d 24, 3 heads, 12 x 12 RGB images in patches of 4, class token, 5 classes, exact GELU."""
    layers, d, heads, size, patch, batch, classes = 2, 24, 3, 12, 4, 3, 5
    w = Weights(2)
    w.draw("patch.weight", (d, 3, patch, patch), 1 / math.sqrt(3 * patch * patch))
    w.draw("patch.bias", (d,), 0.1)
    w.draw("class_token", (d,), 0.3)
    w.draw("position", (1 + (size // patch) ** 2, d), 0.1)
    for layer in range(layers):
        w.block(f"blocks.{layer}", d, 4 * d)
    w.norm("norm", d)
    w.linear("head", d, classes)
    images = np.float32(w.random.standard_normal((batch, 3, size, size)))
    targets = w.random.randint(0, classes, (batch,)).astype(np.int32)

    def logits():
        x = F.conv2d(torch.from_numpy(images).double(), w["patch.weight"], w["patch.bias"], stride=patch)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([w["class_token"].expand(batch, 1, d), x], dim=1) + w["position"]
        for layer in range(layers):
            x = block(w, f"blocks.{layer}", x, heads, False, 1e-12, "none")
        return linear(w, "head", norm(w, "norm", x, 1e-12)[:, 0])

    return (w, {"images": images, "targets": targets}, logits, dict(betas=(0.9, 0.999), weight_decay=0.05),
            dict(label_smoothing=0.1))


def exfusion_ffn():
    """One ExFusion FFN with softmax-learned weights, d 16, hidden 24, 3 experts: every expert is a tensor of its
    own, fused by einsum, so that autograd materialises each expert's gradient."""
    experts, d, d_ff, batch, length = 3, 16, 24, 2, 7
    w = Weights(3)
    for i in range(experts):
        w.linear(f"experts.{i}.up", d, d_ff)
        w.linear(f"experts.{i}.down", d_ff, d)
    w.draw("rule.logits", (1, experts), 0.5)
    x = np.float32(w.random.standard_normal((batch, length, d)))
    targets = w.random.randint(0, d, (batch, length)).astype(np.int32)

    def fused(name):
        stacked = torch.stack([w[f"experts.{i}.{name}"] for i in range(experts)])
        return torch.einsum("e,e...->...", w["rule.logits"][0].softmax(dim=0), stacked)

    def logits():
        hidden = F.linear(torch.from_numpy(x).double(), fused("up.weight"), fused("up.bias"))
        return F.linear(F.gelu(hidden, approximate="tanh"), fused("down.weight"), fused("down.bias"))

    return w, {"x": x, "targets": targets}, logits, dict(betas=(0.9, 0.95), weight_decay=0.1), {}


def run(weights, inputs, logits, adamw, loss_options):
    def loss():
        targets = torch.from_numpy(inputs["targets"]).long().flatten()
        values = logits()
        return F.cross_entropy(values.reshape(-1, values.shape[-1]), targets, **loss_options)

    def decays(name):
        return weights[name].dim() >= 2 and not name.startswith("rule.")

    tensors = {name: weight.detach().numpy().copy() for name, weight in weights.items()}
    tensors["logits"] = logits().detach().numpy()
    optimizer = torch.optim.AdamW(
        [{"params": [weight for name, weight in weights.items() if decays(name)]},
         {"params": [weight for name, weight in weights.items() if not decays(name)], "weight_decay": 0.0}],
        lr=1e-3, eps=1e-8, **adamw)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        losses.append(value.item())
        if step == 0:
            tensors.update({"grad." + name: weight.grad.numpy().copy() for name, weight in weights.items()})
        optimizer.step()
    tensors["losses"] = np.array(losses + [loss().item()])
    return {**{name: np.float32(array) for name, array in tensors.items()}, **inputs}


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for model in (gpt, vit, exfusion_ffn):
        tensors = run(*model())
        write_safetensors(folder / f"{model.__name__}.safetensors", tensors)
        print(f"{model.__name__}: losses {tensors['losses'][0]:.6f} .. {tensors['losses'][-1]:.6f}")


if __name__ == "__main__":
    main()
