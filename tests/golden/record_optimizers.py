#!/usr/bin/python3
"""Records seven steps of PyTorch's optimizers into tests/golden/optimizers.json, for tests/test_optim.cpp.

usage: tests/golden/record_optimizers.py      (from the root of the repository)

Needs PyTorch (Debian: python3-torch). The parameter and its gradients are those of the suite; the file holds the
parameter after each step and the optimizer's state after the last.
"""
import json
import math

import torch
from torch import optim

STEPS = 7

CASES = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.02),
    "sgd_nesterov_maximize": lambda p: optim.SGD(
        p, lr=0.05, momentum=0.8, weight_decay=0.1, nesterov=True, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "adam_amsgrad": lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.6), weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.05, weight_decay=0.3),
    "adamw_amsgrad_maximize": lambda p: optim.AdamW(
        p, lr=0.05, betas=(0.7, 0.5), eps=1e-2, weight_decay=0.3, amsgrad=True, maximize=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-4, weight_decay=0.05, momentum=0.7),
    "rmsprop_centered": lambda p: optim.RMSprop(p, lr=0.02, alpha=0.8, eps=1e-3, centered=True),
    "rmsprop_centered_momentum_maximize": lambda p: optim.RMSprop(
        p, lr=0.02, alpha=0.8, eps=1e-3, weight_decay=0.05, momentum=0.6, centered=True, maximize=True),
}


def record(make):
    p = torch.tensor([0.5, -1.25, 2.0, 0.0, 3.5], dtype=torch.float64, requires_grad=True)
    optimizer = make([p])
    steps = []
    for t in range(1, STEPS + 1):
        p.grad = torch.tensor([math.sin(0.7 * t + 1.3 * i) + 0.1 for i in range(len(p))], dtype=torch.float64)
        optimizer.step()
        steps.append(p.tolist())
    state = {name: x.tolist() for name, x in optimizer.state[p].items() if name != "step" and x is not None}
    return {"steps": steps, "state": state}


def main():
    lines = [f"{json.dumps(name)}: {json.dumps(record(make))}" for name, make in CASES.items()]
    with open("tests/golden/optimizers.json", "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} optimizers recorded with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
