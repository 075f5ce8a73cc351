"""All-reduce between processes of this machine: Gradus beside bare Gloo, in the same processes, in rounds of alternating
order. Ratios are medians of the rounds' ratios; bus bandwidth is bytes / t * 2 (n - 1) / n, as nccl-tests has it. On
GPUs it is Gradus over NCCL alone."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import programs

HEADER = f"{'bytes':>10} {'us':>10} {'us unchecked':>13} {'us Gloo':>10} {'GB/s':>7} {'ratio':>7} {'unchecked':>10}"


def run_ranks(command, n):
    """The lines that rank 0 prints."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = []
        for rank in range(n):
            environment = dict(os.environ)
            environment.update(
                RANK=str(rank), WORLD_SIZE=str(n), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(n),
                GRADUS_STORE=f"file://{folder}/store", GRADUS_RUN_ID="bench", GRADUS_NUM_THREADS="1",
            )
            ranks.append(subprocess.Popen(command, env=environment, text=True,
                                          stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL))
        try:
            output = ranks[0].communicate()[0]
            codes = [rank.wait() for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
    if any(codes):
        raise programs.Failed(f"{command[0]} with {n} ranks ended with {codes}")
    return [json.loads(line) for line in output.splitlines()]


def row(n, bytes_, samples):
    median = lambda key: statistics.median(s[key] for s in samples)  # noqa: E731
    ratio = lambda key: statistics.median(s["gloo"] / s[key] for s in samples)  # noqa: E731
    bus = bytes_ / median("checked") * 2 * (n - 1) / n / 1000
    return (f"{bytes_:>10} {median('checked'):>10.0f} {median('unchecked'):>13.0f} {median('gloo'):>10.0f} {bus:>7.2f} "
            f"{ratio('checked'):>7.2f} {ratio('unchecked'):>10.2f}")


def run(build_folder, rounds):
    tree = programs.Gradus(build_folder).tree
    tree.build("gradus_gloo")
    program = tree.build("bench_gloo_allreduce")
    for n in (2, 4):
        with tempfile.TemporaryDirectory() as folder:
            samples = run_ranks([program, folder, str(rounds)], n)
        print(f"\nall_reduce of float32, {n} processes, {rounds} rounds; ratio: Gloo's time / ours, above 1 ours is better")
        print(HEADER)
        for bytes_ in sorted({s["bytes"] for s in samples}):
            print(row(n, bytes_, [s for s in samples if s["bytes"] == bytes_]))


def gpus():
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return sum(line.startswith("GPU") for line in listed.stdout.splitlines())


def run_cuda(build_folder):
    """One process a GPU of this machine; an emulated device is refused by the program."""
    n = gpus()
    if n < 2 and "GRADUS_CUDA_PLUGIN" not in os.environ:
        print(f"SKIPPED: all_reduce between GPUs wants two, there are {n}")
        sys.exit(4)
    tree = programs.Gradus(build_folder).tree
    tree.build("gradus_gloo")
    if n:
        tree.build("gradus_cuda")
    launcher, program = tree.build("gradus-run"), tree.build("bench_nccl_allreduce")
    sys.exit(subprocess.run([launcher, "--nproc", str(max(n, 2)), "--no-prefix", program]).returncode)
