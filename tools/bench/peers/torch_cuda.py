#!/usr/bin/env python3
"""PyTorch's side of the GPU figures: torch_cuda.py [--seconds S] ID..., the same ids as bench_gradus_cuda."""

import json
import sys
import time

import torch

ROWS, COLUMNS = 25600, 1024
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
CALLS = 10


def measure(seconds, work):
    """Seconds a call: the median over batches that end with a wait for the device."""
    work()
    torch.cuda.synchronize()
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(samples) < 5:
        start = time.monotonic()
        for _ in range(CALLS):
            work()
        torch.cuda.synchronize()
        samples.append((time.monotonic() - start) / CALLS)
    return sorted(samples)[len(samples) // 2]


def stream(op, dtype, seconds):
    x, y = (torch.randn(ROWS, COLUMNS, device="cuda", dtype=DTYPES[dtype]) for _ in range(2))
    weight, bias = torch.ones(COLUMNS, device="cuda", dtype=x.dtype), torch.zeros(COLUMNS, device="cuda", dtype=x.dtype)
    functional = torch.nn.functional
    work, arrays = {
        "copy": (x.clone, 2),
        "gelu": (lambda: functional.gelu(x, approximate="tanh"), 2),
        "softmax": (lambda: torch.softmax(x, -1), 2),
        "layer_norm": (lambda: functional.layer_norm(x, (COLUMNS,), weight, bias), 2),
        "sum": (lambda: x.sum(), 1),
        "add": (lambda: x + y, 3),
    }[op]
    return 1e-9 * arrays * x.numel() * x.element_size() / measure(seconds, work), "GB/s"


def gemm(dtype, size, seconds):
    n = int(size)
    a, b = (torch.randn(n, n, device="cuda", dtype=DTYPES[dtype]) for _ in range(2))
    return 2e-12 * n**3 / measure(seconds, lambda: a @ b), "TFLOP/s"


def latency(op, seconds):
    x, y = torch.ones(64, device="cuda"), torch.ones(64, device="cuda")
    return 1e6 * measure(seconds, {"add": lambda: x + y}[op]), "us"


def main():
    arguments, seconds = sys.argv[1:], 0.2
    if arguments[:1] == ["--seconds"]:
        seconds, arguments = float(arguments[1]), arguments[2:]
    families = {"stream": stream, "gemm": gemm, "latency": latency}
    with torch.inference_mode():
        for name in arguments:
            family, *parts = name.split("/")
            value, unit = families[family](*parts, seconds)
            print(json.dumps({"id": name, "value": value, "unit": unit}), flush=True)


main()
