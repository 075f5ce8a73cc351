"""The part of DDP's communication that hides behind backward, 1 - (t_ddp - t_no_comm) / t_comm, for two processes over a
link that is slowed down: loopback of a network namespace of its own. Times are the least of the rounds, because what
else the machine does only adds. Called as a program it is what runs in the namespace."""

import subprocess
import sys

import allreduce
import programs

TARGET = 0.8
SHAPE = "ip link set lo up && tc qdisc add dev lo root tbf rate {rate} burst 512kb latency 400ms"
RATE = "1gbit"


def in_namespace(command):
    return ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", SHAPE.format(rate=RATE) + " && " + command]


def inside(program, rounds):
    samples = allreduce.run_ranks([program, str(rounds)], 2)
    ddp, no_comm, comm = (min(s[key] for s in samples) for key in ("ddp", "no_comm", "comm"))
    print(f"forward and backward {no_comm:.0f} ms, communication alone {comm:.0f} ms, together {ddp:.0f} ms "
          f"(least of {rounds} rounds, 2 processes, {RATE})")
    print(f"figure overlap {1 - (ddp - no_comm) / comm:.2f} target {TARGET}")


def run(build_folder, rounds):
    if subprocess.run(in_namespace("true"), capture_output=True).returncode != 0:
        print("figure overlap SKIPPED: this kernel gives no network namespace whose link can be slowed down (unshare, tc tbf)")
        return
    tree = programs.Gradus(build_folder).tree
    tree.build("gradus_gloo")
    program = tree.build("bench_ddp_overlap")
    # exec: the namespace ends with what runs in it.
    subprocess.run(in_namespace('exec "$0" "$@"') + [sys.executable, __file__, str(program), str(rounds)], check=True)


if __name__ == "__main__":
    inside(sys.argv[1], int(sys.argv[2]))
