"""The figures of the CPU bench: what is measured, by which program, the goal, and the bound computed from shapes.

Nothing is run here. A figure's id is what the program calls it plus, where the number of threads matters, "/1t" or
"/2t". Goals are those that the project set itself; tools/bench/run says of each whether it is met.
"""

from dataclasses import dataclass
from typing import Callable, Optional

RATES = ("GFLOP/s", "GB/s", "x")  # more is better; of all other units less is better
TIMED = ("ns", "ms", "s") + RATES  # what other load on the machine disturbs


@dataclass(frozen=True)
class Goal:
    """What is held against the limit: kind "at_most" and "at_least" the figure itself, "ratio" how many times better
    than the peer it is, "equal" how far that is from one, "bound" the share of the bound that it reaches."""

    kind: str
    limit: float
    text: str

    def met(self, value, ratio, share) -> Optional[bool]:
        """None when there is nothing to compare with."""
        measured = {"ratio": ratio, "equal": ratio, "bound": share}.get(self.kind, value)
        if measured is None:
            return None
        if self.kind == "equal":
            return abs(measured - 1) <= self.limit
        return measured <= self.limit if self.kind == "at_most" else measured >= self.limit


def at_most(limit, unit):
    return Goal("at_most", limit, f"<= {limit:g} {unit}")


def faster(times):
    return Goal("ratio", times, f">= {times:g}x peer")


def of_bound(share):
    return Goal("bound", share, f">= {share:.0%} of bound")


def like_peer(tolerance):
    return Goal("equal", tolerance, f"peer +- {tolerance:.0%}")


@dataclass(frozen=True)
class Figure:
    id: str
    unit: str
    goal: Optional[Goal] = None
    bound: Optional[Callable[[dict], Optional[float]]] = None  # from the floors measured in the same round

    @property
    def timed(self):
        return self.unit in TIMED


@dataclass(frozen=True)
class Group:
    """Figures that one run of one program gives. `program` is train, ops, floors, hello, compile or size."""

    title: str
    program: str
    threads: int
    ids: tuple  # what the program is asked for
    figures: dict  # what the program calls it -> Figure
    seconds: float = 0.1
    floors: tuple = ()  # measured beside it in each round
    rounds: Optional[int] = None  # fewer than asked for, where a figure does not vary or takes minutes
    against_itself: bool = False  # the peer is Gradus: the spread is the noise of the method


@dataclass(frozen=True)
class Derived:
    """A figure computed, round by round, from others."""

    figure: Figure
    sources: tuple
    combine: Callable[..., float]


# --- bounds -----------------------------------------------------------------------------------------------------------


def linear_gflop(rows, inputs, outputs, passes=3):
    """A GEMM forward and for both gradients; the first layer needs none for its input: two passes."""
    return passes * 2e-9 * rows * inputs * outputs


def conv_gflop(n, c, size, filters, passes=3):
    return linear_gflop(n * size * size, c * 9, filters, passes)


def gpt_gflop(layers, width, context, batch, vocabulary=96):
    tokens = batch * context
    block = linear_gflop(tokens, width, 12 * width)  # qkv 3, projection 1, up 4, down 4
    attention = 2 * linear_gflop(tokens, width, context)  # scores, and their product with the values
    return layers * (block + attention) + linear_gflop(tokens, width, vocabulary)


# Shapes as in workloads.h. Attention counts in full, as the peer computes it.
TRAIN_GFLOP = {
    "mlp": linear_gflop(64, 784, 256, 2) + linear_gflop(64, 256, 128) + linear_gflop(64, 128, 10),
    "convnet": conv_gflop(64, 1, 28, 16, 2) + conv_gflop(64, 16, 14, 32) + linear_gflop(64, 1568, 128) + linear_gflop(64, 128, 10),
    "gpt-s": gpt_gflop(4, 128, 128, 16),
    "gpt-m": gpt_gflop(6, 384, 256, 8),
}


def peak(floors):
    return floors.get("floor/fma")


def milliseconds_at_peak(workload):
    return lambda floors: TRAIN_GFLOP[workload] / floors["floor/fma"] * 1e3 if "floor/fma" in floors else None


# The stores that each of Gradus's kernels uses on 100 MiB, and so the floor it is held against.
STREAM_FLOORS = {
    "gelu": "floor/copy",
    "gelu_tanh": "floor/copy",
    "softmax": "floor/copy",
    "layer_norm": "floor/copy",
    "adamw": "floor/update",
}

# --- groups -----------------------------------------------------------------------------------------------------------

TRAIN_GOALS = {"mlp": 1.5, "convnet": 2, "gpt-s": 1.5, "gpt-m": 1.2}
TRAIN_SECONDS = {"mlp": 1, "convnet": 1, "gpt-s": 2, "gpt-m": 2}
CHAIN_LENGTHS = (10, 100, 1000, 10_000, 100_000)


def train_group(workload, threads):
    bare = f"train/{workload}"
    figures = {bare: Figure(f"{bare}/{threads}t", "ms", faster(TRAIN_GOALS[workload]), milliseconds_at_peak(workload))}
    if threads == 1:
        figures[f"loss/{workload}"] = Figure(f"loss/{workload}", "", like_peer(0.01))
        figures[f"fall/{workload}"] = Figure(f"fall/{workload}", "", like_peer(0.01))
        if workload == "gpt-m":
            figures["memory/gpt-m"] = Figure("memory/gpt-m", "MB", Goal("ratio", 1 / 0.7, "<= 0.7x peer"))
    return Group(f"train {workload}", "train", threads, (bare,), figures, TRAIN_SECONDS[workload], ("floor/fma",))


def threaded_group(title, threads, seconds, floors, figures):
    """`figures`: bare id -> (unit, goal, bound)."""
    named = {bare: Figure(f"{bare}/{threads}t", *rest) for bare, rest in figures.items()}
    return Group(title, "ops", threads, tuple(named), named, seconds, floors)


def overhead_group():
    figures = {}
    for op in ("add", "mul", "relu"):
        figures[f"op/{op}"] = Figure(f"op/{op}", "ns", at_most(120, "ns"))
        figures[f"op/{op}_grad"] = Figure(f"op/{op}_grad", "ns", at_most(220, "ns"))
    figures["op/view"] = Figure("op/view", "ns", at_most(40, "ns"))
    return Group("op on 64 floats", "ops", 1, tuple(figures), figures)


def backward_group():
    ids = tuple(f"backward/{op}/{length}" for op in ("add", "mul") for length in CHAIN_LENGTHS)
    return Group("backward per node", "ops", 1, ids, {i: Figure(i, "ns", at_most(300, "ns")) for i in ids})


def chain_group(op, limit):
    bare = f"chain/{op}"  # a process each: memory once used is not given back
    return Group(bare, "ops", 1, (bare,), {bare: Figure(bare, "B", at_most(limit, "B"))}, rounds=1)


def gemm_group(threads):
    ids = [f"gemm/{form}/{size}" for form in ("nn", "nt", "tn", "tt") for size in (256, 512, 1024, 2048)]
    return threaded_group("GEMM", threads, 0.1, ("floor/fma",), {i: ("GFLOP/s", of_bound(0.8), peak) for i in ids})


def conv_group(threads):
    ids = [f"conv/{what}/{shape}" for shape in ("n64c32s28", "n16c64s56") for what in ("forward", "data", "weights")]
    return threaded_group("conv 3x3", threads, 0.2, ("floor/fma",), {i: ("GFLOP/s", of_bound(0.75), peak) for i in ids})


def stream_group(threads):
    goal = of_bound(0.7) if threads == 2 else None
    floor_of = lambda name: lambda floors: floors.get(STREAM_FLOORS[name])
    figures = {f"stream/{name}": ("GB/s", goal, floor_of(name)) for name in STREAM_FLOORS}
    return threaded_group("100 MB", threads, 0.2, tuple(sorted(set(STREAM_FLOORS.values()))), figures)


FLOOR_UNITS = {"floor/fma": "GFLOP/s", "floor/copy": "GB/s", "floor/copy_streaming": "GB/s", "floor/update": "GB/s"}


def floor_group(threads, ids=tuple(FLOOR_UNITS)):
    figures = {bare: Figure(f"{bare}/{threads}t", FLOOR_UNITS[bare]) for bare in ids}
    return Group("floors", "floors", threads, ids, figures)


def single_group(title, program, *figures, rounds=None, threads=1):
    return Group(title, program, threads, (), {figure.id: figure for figure in figures}, rounds=rounds)


def noise_group():
    return Group("noise", "train", 1, ("train/mlp",), {"train/mlp": Figure("noise/mlp", "ms")}, 1, against_itself=True)


def all_groups(max_threads, with_build_time):
    groups = []
    for threads in range(1, min(max_threads, 2) + 1):
        groups += [floor_group(threads)]
        groups += [train_group(workload, threads) for workload in TRAIN_GOALS]
        groups += [gemm_group(threads), conv_group(threads), stream_group(threads)]
    groups += [overhead_group(), backward_group(), chain_group("add", 400), chain_group("mul", 900), noise_group()]
    groups += [
        single_group("start-up", "hello", Figure("start/hello", "ms", at_most(8, "ms"))),
        single_group("compile gradus.h", "compile_header", Figure("compile/header", "s", at_most(0.6, "s")), rounds=3),
        single_group(
            "compile a training script",
            "compile_script",
            Figure("compile/script", "s", at_most(3, "s")),
            Figure("compile/script_memory", "MB", at_most(300, "MB")),
            rounds=3,
        ),
        single_group("library size", "size", Figure("size/library", "MB", at_most(12, "MB")), rounds=1),
    ]
    if with_build_time:
        build = Figure("build/library", "s", at_most(300, "s"))
        groups.append(single_group("clean build", "build", build, rounds=1, threads=max_threads))
    return groups


def all_derived(max_threads):
    derived = [
        Derived(
            Figure(f"backward/{op}/spread", "", Goal("at_most", 1.1, "<= 1.1")),
            tuple(f"backward/{op}/{length}" for length in CHAIN_LENGTHS),
            lambda *values: max(values) / min(values),
        )
        for op in ("add", "mul")
    ]
    if max_threads >= 2:
        derived += [
            Derived(
                Figure(f"scaling/{workload}", "x", Goal("at_least", 1.8, ">= 1.8x")),
                (f"train/{workload}/1t", f"train/{workload}/2t"),
                lambda one, two: one / two,
            )
            for workload in ("convnet", "gpt-s")
        ]
    return derived
