#!/usr/bin/python3
"""Writes tests/fixtures/optim.json: trajectories of PyTorch's AdamW and SGD, in double.

Needs PyTorch (Debian: python3-torch). Each case holds the initial values of one tensor, and for each step the
learning rate, the gradient (null: none in this step) and the values afterwards.
"""

import json
import pathlib

import torch

CASES = [
    ("adamw with the defaults", torch.optim.AdamW, {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}),
    ("adamw with decay", torch.optim.AdamW, {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.3}),
    ("sgd", torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
    ("sgd with decay", torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.2, "nesterov": False}),
    ("sgd with momentum", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.0, "nesterov": False}),
    ("sgd with momentum and decay", torch.optim.SGD, {"momentum": 0.7, "weight_decay": 0.2, "nesterov": False}),
    ("sgd with nesterov and decay", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
]
SIZE = 19
STEPS = 6
WITHOUT_GRADIENT = 3


def trajectory(name, optimizer_type, options):
    generator = torch.Generator().manual_seed(len(name))
    parameter = torch.randn(SIZE, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = optimizer_type([parameter], lr=1.0, **options)
    case = {"name": name, "options": options, "initial": parameter.tolist(), "steps": []}
    for step in range(STEPS):
        lr = 0.05 / (1 + step)
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = None
        if step != WITHOUT_GRADIENT:
            scale = 10.0 ** -torch.arange(SIZE, dtype=torch.float64).remainder(5)
            parameter.grad = scale * torch.randn(SIZE, generator=generator, dtype=torch.float64)
        gradient = None if parameter.grad is None else parameter.grad.tolist()
        optimizer.step()
        case["steps"].append({"lr": lr, "gradient": gradient, "values": parameter.tolist()})
    return case


def main():
    path = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "optim.json"
    path.parent.mkdir(exist_ok=True)
    cases = ",\n".join(json.dumps(trajectory(*case)) for case in CASES)
    path.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{cases}\n]}}\n')


if __name__ == "__main__":
    main()
