"""Times training steps of bench/step_bench.cpp's dense GPT in PyTorch and prints JSON: milliseconds of each."""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional

VOCAB, CONTEXT, LAYERS, HEADS, WIDTH, BATCH = 65, 256, 6, 6, 384, 16


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("visible", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril())

    def attention(self, x):
        batch, tokens, width = x.shape
        heads = [t.view(batch, tokens, HEADS, -1).transpose(1, 2) for t in self.qkv(x).split(width, dim=2)]
        q, k, v = heads
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~self.visible[:tokens, :tokens], float("-inf"))
        y = functional.softmax(scores, dim=-1) @ v
        return self.projection(y.transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.wte.weight)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    tokens, targets = torch.randint(VOCAB, (2, BATCH, CONTEXT))
    times = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        loss = functional.cross_entropy(model(tokens).view(-1, VOCAB), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"model": "pytorch " + torch.__version__, "ms": times[1:]}))


if __name__ == "__main__":
    main()
