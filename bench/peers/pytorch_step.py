"""Times training steps of bench_step's dense models in PyTorch: AdamW, no dropout, random weights and data.

Prints JSON: milliseconds of each step after one that warms up, and the process's peak memory.
"""

import argparse
import contextlib
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional

MODELS = {
    "gpt": {"vocab": 65, "layers": 6, "width": 384, "batch": 16, "length": 256},
    "gpt2": {"vocab": 50257, "layers": 12, "width": 768, "batch": 4, "length": 64},
    "vit": {"layers": 9, "width": 192, "batch": 128, "image": 32, "patch": 4, "classes": 10},
}
HEAD_WIDTH = 64
HAS_FUSED_ATTENTION = hasattr(functional, "scaled_dot_product_attention")


class Block(nn.Module):
    def __init__(self, width, causal, activation):
        super().__init__()
        self.causal, self.activation = causal, activation
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, q, k, v):
        if HAS_FUSED_ATTENTION:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        if self.causal:
            visible = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~visible, float("-inf"))
        return functional.softmax(scores, dim=-1) @ v

    def attention(self, x):
        batch, tokens, width = x.shape
        heads = (batch, tokens, width // HEAD_WIDTH, HEAD_WIDTH)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(x).split(width, dim=2))
        return self.projection(self.attend(q, k, v).transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate=self.activation))


class Gpt(nn.Module):
    def __init__(self, vocab, layers, width, batch, length):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, True, "tanh") for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.tokens, self.targets = torch.randint(vocab, (2, batch, length))

    def loss(self):
        x = self.blocks(self.wte(self.tokens) + self.wpe.weight)
        logits = functional.linear(self.norm(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), self.targets.flatten())


class Vit(nn.Module):
    def __init__(self, layers, width, batch, image, patch, classes):
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros((image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[Block(width, False, "none") for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
        self.images, self.labels = torch.randn(batch, 3, image, image), torch.randint(classes, (batch,))

    def loss(self):
        patches = self.patch(self.images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1) + self.position
        return functional.cross_entropy(self.head(self.norm(self.blocks(x))[:, 0]), self.labels)


def make_optimizer(model):
    """AdamW in one pass over each parameter where this PyTorch has it for CPUs."""
    arguments = {"lr": 3e-4, "weight_decay": 0.1}
    try:
        return torch.optim.AdamW(model.parameters(), fused=True, **arguments)
    except (TypeError, RuntimeError):
        return torch.optim.AdamW(model.parameters(), **arguments)


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="gpt")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: by autocast")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    imported = peak_megabytes()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = (Vit if options.model == "vit" else Gpt)(**MODELS[options.model])
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    optimizer = make_optimizer(model)
    times = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        half = torch.autocast("cpu", dtype=torch.bfloat16) if options.precision == "bf16" else contextlib.nullcontext()
        with half:
            loss = model.loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({
        "version": torch.__version__,
        "attention": "scaled_dot_product_attention" if HAS_FUSED_ATTENTION else "eager",
        "ms": times[1:],
        "peak_RSS_MB": peak_megabytes(),
        "import_RSS_MB": imported,
    }))


if __name__ == "__main__":
    main()
