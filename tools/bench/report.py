"""Rows of bench.jsonl from the samples of figures, and the table that people read."""

import datetime
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import figures
import measure
from programs import ROOT, Failed, run_for_usage


@dataclass
class Samples:
    """The rounds of one figure, and how far they can be trusted."""

    figure: figures.Figure
    values: dict  # side -> one number a round
    bounds: list  # one number a round, or none
    clock: str
    void: bool  # a rule of the method was broken: the figure is shown, but judges nothing
    notes: list
    peer: Optional[str]


def times_better(mine, its, unit):
    return mine / its if unit in figures.RATES else its / mine


def make_row(samples):
    """A row of bench.jsonl."""
    figure, ours, peers = samples.figure, samples.values.get("own"), samples.values.get("peer")
    value = statistics.median(ours) if ours else None
    ratios = [times_better(a, b, figure.unit) for a, b in zip(ours or [], peers or []) if a and b]
    shares = [times_better(a, b, figure.unit) for a, b in zip(ours or [], samples.bounds) if a and b]
    ratio = statistics.median(ratios) if ratios else None
    share = statistics.median(shares) if shares else None
    return {
        "id": figure.id,
        "value": value,
        "unit": figure.unit,
        "goal": figure.goal.text if figure.goal else None,
        "peer": samples.peer,
        "peer_value": statistics.median(peers) if peers else None,
        "ratio": ratio,
        "bound": statistics.median(samples.bounds) if samples.bounds else None,
        "interval": measure.bootstrap_interval(ratios),
        "of_bound": share,
        "met": figure.goal.met(value, ratio, share) if figure.goal and ours and not samples.void else None,
        "void": samples.void,
        "clock": samples.clock,
        "note": "; ".join(samples.notes),
    }


def void_unequal_training(rows):
    """A speed counts only when both sides computed the same."""
    by_id = {row["id"]: row for row in rows}
    for workload in figures.TRAIN_GOALS:
        gates = [by_id.get(f"{what}/{workload}") for what in ("loss", "fall")]
        if any(gate and gate["met"] is False for gate in gates):
            for row in rows:
                if row["id"].startswith((f"train/{workload}/", f"scaling/{workload}")):
                    row["note"] = "; ".join(filter(None, [row["note"], "the peer's losses differ"]))
                    row["void"], row["met"] = True, None


def make_header(rounds, quick, peer):
    """What a row does not say: machine, date, versions, commit."""
    commit = git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain") else "")
    return {
        "id": "header",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit.strip() or "unknown",
        "cpu": field("/proc/cpuinfo", "model name", ":"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(float(field("/proc/meminfo", "MemTotal", ":").split()[0]) / 1e6, 1),
        "system": field("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        "kernel": platform.release(),
        "compiler": run_for_usage(["c++", "--version"])[0].splitlines()[0],
        "peer": peer,
        "rounds": rounds,
        "quick": quick,
    }


def field(path, name, separator):
    """The first value of a name in one of the system's text files."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return "unknown"


def git(*arguments):
    try:
        return run_for_usage(["git", "-C", ROOT, *arguments])[0].strip()
    except (Failed, OSError):
        return ""


def print_table(header, rows):
    for name in ("cpu", "cores", "system", "compiler", "commit", "date", "peer"):
        print(f"{name:9} {header[name]}")
    if header["quick"]:
        print("QUICK RUN: no figure of it is to be quoted")
    titles = ("figure", "value", "goal", "met", "peer", "ratio [95 %]", "bound", "of it", "note")
    table = [titles] + [table_line(row) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(titles))]
    family = None
    for line in table:
        if family != (family := line[0].split("/")[0]):
            print()
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    judged = [row["met"] for row in rows if row["met"] is not None]
    print(f"\n{sum(judged)} of {len(judged)} goals met")


def table_line(row):
    ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
    if row["interval"]:
        ratio += " [{:.2f}, {:.2f}]".format(*row["interval"])
    return (
        row["id"],
        f"{number(row['value'])} {row['unit']}".strip(),
        row["goal"] or "",
        "void" if row["void"] else {True: "yes", False: "NO", None: ""}[row["met"]],
        number(row["peer_value"]),
        ratio,
        number(row["bound"]),
        f"{row['of_bound']:.0%}" if row["of_bound"] else "",
        row["note"],
    )


BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
FAMILIES = {
    "train": "Training steps",
    "loss": "The same training? Loss of the first step",
    "fall": "The same training? Fall of the loss over the next steps",
    "scaling": "One thread against two",
    "memory": "Peak memory",
    "op": "Operations on 64 floats",
    "backward": "Backward of a chain, per node",
    "chain": "Memory of a graph, per node",
    "gemm": "Matrix products",
    "conv": "Convolutions",
    "stream": "Kernels on 100 MB",
    "floor": "What the machine gives",
    "compile": "Compile time",
    "build": "Clean build of the library",
    "size": "Stripped library",
    "start": "Start to end of a program that makes a tensor",
    "noise": "Gradus against itself",
}


def write_page(page, header, rows):
    """Puts the figures into a Markdown page, between the two marks."""
    text = page.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise Failed(f"{page}: want a line {BEGIN} and one {END}")
    machine = "{cpu}, {cores} cores, {memory_gb} GB, {system}, {compiler}".format(**header)
    run = "{date}, commit {commit}, {rounds} rounds, peer {peer}".format(**header)
    lines = ["", f"Machine: {machine}.", f"Run: {run}."]
    families = {}
    for row in rows:
        families.setdefault(row["id"].split("/")[0], []).append(row)
    titles = ("figure", "Gradus", "goal", "met", "peer", "times better [95 %]", "bound", "of bound", "note")
    for family in sorted(families, key=list(FAMILIES).index):
        lines += ["", f"### {FAMILIES[family]}", "|".join(("", *titles, "")), "|---" * len(titles) + "|"]
        lines += ["|".join(("", *table_line(row), "")) for row in families[family]]
    page.write_text(before + mark + "\n".join(lines) + "\n\n" + end + after)


def number(value):
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
