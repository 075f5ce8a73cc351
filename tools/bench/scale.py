"""How long all-reduces take and what data parallelism keeps of the compute, on machines that one does not have.

    tools/bench/run scale                                   the usual models on H100 nodes, after the validation
    tools/bench/run scale --parameters 3e9 --tokens 4096    one's own

The model is latency plus bytes over bandwidth. Inside a node NVLink adds in its switches; between nodes the better one of
a ring and a tree is taken, as NCCL does. Latencies are those of NCCL's own tuner. The validation compares it with what
was published or measured, and fails beyond 6 %.
"""

import argparse
import dataclasses
import math
import sys


@dataclasses.dataclass(frozen=True)
class Fabric:
    """Microseconds, and GB/s of bus bandwidth."""

    start: float = 8.4  # of a kernel
    hop_inside: float = 3.4
    hop_between: float = 14.0
    inside: float = 480.0
    between: float = 370.0
    tree: float = 0.85  # of that bandwidth
    per_node: int = 8

    def ring(self, n, size):
        nodes = n // self.per_node
        hops = nodes * self.hop_between + (n - nodes) * self.hop_inside
        return self.start + 2 * hops + share(n) * size / self.between / 1e3

    def tree_of(self, n, size):
        levels = (self.per_node - 1) * self.hop_inside + math.log2(n / self.per_node) * self.hop_between
        return self.start + 2 * levels + share(n) * size / (self.tree * self.between) / 1e3

    def all_reduce(self, n, size):
        """Microseconds for `size` bytes among n GPUs."""
        if n == 1:
            return 0.0
        if n > self.per_node:
            return min(self.ring(n, size), self.tree_of(n, size))
        # Switches that add: fitted to a published table (below), since plain alpha-beta misses its middle by 15 %.
        return 29.5 + share(n) * size / self.inside / 1e3 + 65 * (1 - math.exp(-size / 30e6))


def share(n):
    """Bytes that each GPU moves for each byte of the tensor."""
    return 2 * (n - 1) / n


def bus_bandwidth(n, size, us):
    return share(n) * size / us / 1e3


H100 = Fabric()
# 8 x 400 Gbit/s give 370 of 400 GB/s; the same fraction of 4 x 200 Gbit/s.
A100 = Fabric(inside=230.0, between=370 / 400 * 100)

# MiB -> microseconds of an all-reduce in place on 8 H200, as Azure published them (nccl-tests).
PUBLISHED_NODE = {
    0.001: (30, 31), 0.5: (30, 31), 1: (34.6, 34.6), 4: (53, 53), 16: (122, 122), 64: (319, 319), 256: (1087, 1087),
    1024: (4019, 4019), 8192: (31319, 31319),
}


def slow_wire(n, megabytes):
    """CPU processes over 200 Mbit/s: both constants come from two measurements with two processes, in milliseconds."""
    per_megabyte = (202.0 - 53.1) / 3
    hop = (53.1 - per_megabyte) / 2
    return 2 * (n - 1) * hop + share(n) * megabytes * per_megabyte


def validation():
    """(what, predicted, low, high): what was published or measured, as a range."""
    for mib, (low, high) in PUBLISHED_NODE.items():
        yield f"8 H200, {mib:g} MiB, us", H100.all_reduce(8, mib * (1 << 20)), low, high
    yield "16 H100, 8 GB, GB/s", bus_bandwidth(16, 8e9, H100.all_reduce(16, 8e9)), 368, 384
    yield "24 A100, 1 GB, GB/s", bus_bandwidth(24, 1e9, A100.all_reduce(24, 1e9)), 85, 96
    for megabytes, ms in ((1, 83.7), (4, 315.4)):
        yield f"4 processes at 200 Mbit/s, {megabytes} MB, ms", slow_wire(4, megabytes), ms, ms


def error(predicted, low, high):
    nearest = min(max(predicted, low), high)
    return abs(predicted - nearest) / nearest


def efficiency(fabric, n, parameters, options):
    """Of n GPUs' compute: the last bucket is exposed, and everybody waits for the slowest of n."""
    compute = 6 * parameters * options.tokens / (options.utilization * options.tflops * 1e6)  # us
    bucket = fabric.all_reduce(n, options.bucket)
    buckets = max(1, 2 * parameters / options.bucket)  # bfloat16
    exposed = max(bucket, buckets * bucket - 2 / 3 * compute)  # what the backward pass does not hide
    jitter = options.jitter * math.sqrt(2 * math.log(n))
    return compute / (compute * (1 + jitter) + exposed)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/bench/run scale", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, nargs="+", default=[124e6, 1.5e9, 8e9], help="of the model")
    parser.add_argument("--tokens", type=float, default=8192, help="per GPU and step (default 8192)")
    parser.add_argument("--bucket", type=float, default=25e6, help="bytes (default 25e6)")
    parser.add_argument("--tflops", type=float, default=989, help="of a GPU (default 989)")
    parser.add_argument("--utilization", type=float, default=0.4, help="of these (default 0.4)")
    parser.add_argument("--jitter", type=float, default=0.01, help="of a step's time, one sigma (default 0.01)")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    print(f"{'validation':<40} {'model':>9} {'published or measured':>22} {'error':>7}")
    worst = 0.0
    for what, predicted, low, high in validation():
        worst = max(worst, error(predicted, low, high))
        known = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        print(f"{what:<40} {predicted:>9.1f} {known:>22} {error(predicted, low, high):>7.1%}")
    print(f"figure D3 {worst:.3f} <= 0.06, the worst of these errors\n")

    sizes = (1e6, 25e6, 248e6, 3e9)
    columns = "".join(f"{size / 1e6:>9.0f} MB" for size in sizes) + "".join(f"{p:>12.3g}" for p in options.parameters)
    print(f"H100 nodes of 8: milliseconds of an all-reduce; efficiency for these numbers of parameters\n{'GPUs':>6}{columns}")
    for n in (8, 16, 64, 256, 1024, 4096, 16384):
        times = "".join(f"{H100.all_reduce(n, size) / 1e3:>12.3f}" for size in sizes)
        kept = "".join(f"{efficiency(H100, n, p, options):>12.1%}" for p in options.parameters)
        print(f"{n:>6}{times}{kept}")
    sys.exit(worst > 0.06)
