#!/usr/bin/python3
"""Records PyTorch's values for the samples of the op table into tests/golden/ops.json.

usage: build/ci/tests/test_ops '[.samples]' && tests/golden/record.py      (from the root of the repository)

Needs PyTorch (Debian: python3-torch). Every sample with recorded values has an entry in EXPRESSIONS, «op/label»: a
function of the inputs as float64 (int64, bool) tensors. The table itself says how inputs are made; this script takes
the generator and the weights of the sum whose gradients are recorded from generate.py.
"""
import json
import math
import sys

import torch

from expressions import EXPRESSIONS
from generate import uniform_at, weight_at


def make_input(index, spec):
    count = math.prod(spec["shape"])
    values = [spec["low"] + (spec["high"] - spec["low"]) * uniform_at(index, i) for i in range(count)]
    if spec["kind"] == 0:
        return torch.tensor(values, dtype=torch.float64).reshape(spec["shape"])
    if spec["kind"] == 1:
        return torch.tensor([math.floor(v) for v in values], dtype=torch.int64).reshape(spec["shape"])
    return torch.tensor([v >= 1 for v in values], dtype=torch.bool).reshape(spec["shape"])


def as_json(x):
    values = x.detach().to(torch.float64).reshape(-1).tolist()
    return {"shape": list(x.shape), "values": [v if math.isfinite(v) else str(v) for v in values]}


def record(sample):
    inputs = [make_input(i, spec) for i, spec in enumerate(sample["inputs"])]
    differentiable = sample["order"] > 0
    for x in inputs:
        if differentiable and x.dtype == torch.float64:
            x.requires_grad_()
    out = EXPRESSIONS[f"{sample['op']}/{sample['label']}"](*inputs)
    entry = {"out": as_json(out)}
    leaves = [x for x in inputs if x.requires_grad]
    if leaves and out.requires_grad:
        weights = torch.tensor([weight_at(i) for i in range(out.numel())], dtype=out.dtype)
        grads = torch.autograd.grad(out, leaves, weights.reshape(out.shape), allow_unused=True)
        entry["grads"] = [as_json(g if g is not None else torch.zeros_like(x)) for g, x in zip(grads, leaves)]
    return entry


def main():
    samples = [s for s in json.load(open("build/samples.json")) if s["golden"]]
    keys = [f"{s['op']}/{s['label']}" for s in samples]
    missing = [k for k in keys if k not in EXPRESSIONS]
    stale = [k for k in EXPRESSIONS if k not in keys]
    for k in missing:
        print(f"no expression for {k}", file=sys.stderr)
    for k in stale:
        print(f"expression without a sample: {k}", file=sys.stderr)
    with open("tests/golden/ops.json", "w") as file:
        file.write("{\n")
        lines = [f"{json.dumps(k)}: {json.dumps(record(s))}" for k, s in zip(keys, samples) if k in EXPRESSIONS]
        file.write(",\n".join(lines) + "\n}\n")
    print(f"{len(keys) - len(missing)} samples recorded with PyTorch {torch.__version__}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
