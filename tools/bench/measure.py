"""How the bench measures: runs of the sides in turn, the load that others put on the machine, medians, intervals.

A "side" is Gradus, the peer or the floors; running it once gives lines by id. What the lines mean is in figures.py.
"""

import os
import random
import resource
import statistics
from dataclasses import dataclass

MAX_OTHER_LOAD = 0.05  # of the machine; beyond it a wall time is void


@dataclass(frozen=True)
class Line:
    """What a program reported: the value by the wall clock, and the same by its own CPU time."""

    value: float
    cpu: float


@dataclass(frozen=True)
class Round:
    lines: dict  # side -> bare id -> Line
    other_load: float


class LoadMeter:
    """The share of the machine that processes other than ours and our children took, from start to read()."""

    def __init__(self):
        self._busy, self._total = self._machine_ticks()
        self._own = self._own_seconds()

    def read(self):
        busy, total = self._machine_ticks()
        if total == self._total:
            return 0.0
        own_ticks = (self._own_seconds() - self._own) * os.sysconf("SC_CLK_TCK")
        return max(0.0, busy - self._busy - own_ticks) / (total - self._total)

    @staticmethod
    def _machine_ticks():
        with open("/proc/stat") as stat:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
        busy = user + nice + system + irq + softirq + steal
        return busy, busy + idle + iowait

    @staticmethod
    def _own_seconds():
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_rounds(sides, count, may_repeat, progress):
    """Run every side once a round, in alternating order (A B B A ...). A round disturbed by other load is repeated, up
    to `count` times in all, when `may_repeat`. Returns `count` rounds, the quiet ones first, and whether all are quiet."""
    rounds = []
    most = 2 * count if may_repeat else count
    while len(rounds) < most:
        progress(len(rounds) + 1)
        names = list(sides) if len(rounds) % 2 == 0 else list(reversed(sides))
        meter = LoadMeter()
        lines = {name: sides[name]() for name in names}
        rounds.append(Round(lines, meter.read()))
        if sum(r.other_load <= MAX_OTHER_LOAD for r in rounds) == count:
            break
    rounds = sorted(rounds, key=lambda r: r.other_load > MAX_OTHER_LOAD)[:count]
    return rounds, all(r.other_load <= MAX_OTHER_LOAD for r in rounds)


def bootstrap_interval(values, resamples=2000):
    """95 % interval of the median."""
    if len(values) < 3:
        return None
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(resamples))
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def distinct_cores():
    """CPUs of this process, one of each core first, then their siblings."""
    first, siblings = [], []
    seen = set()
    for cpu in sorted(os.sched_getaffinity(0)):
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                core = file.read()
        except OSError:
            core = str(cpu)
        (siblings if core in seen else first).append(cpu)
        seen.add(core)
    return first + siblings


class pinned_to:
    """Keep this process and what it starts on so many CPUs: all sides are pinned alike."""

    def __init__(self, threads):
        self._threads = threads

    def __enter__(self):
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, distinct_cores()[: self._threads])

    def __exit__(self, *_):
        os.sched_setaffinity(0, self._before)
