"""The programs of the bench: building them, running them, and what is measured on the build itself.

Everything is built under build/bench: Gradus in release mode (gradus/), and the LibTorch peers (peers/) if they can be.
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import Line

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent.parent
LIBTORCH_PACKAGES = "libtorch-dev libopenblas0-openmp"


class Failed(Exception):
    """A program could not be built or run; the message is for the row."""


def cpu_flags():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return set(line.split(":")[1].split())
    return set()


def gradus_environment(threads):
    return {"GRADUS_NUM_THREADS": str(threads)}


def peer_environment(threads):
    """LibTorch's strongest setting on this CPU: the kernels that its libraries would not choose by themselves on many
    cores, an allocator that keeps its memory, and one pool of threads instead of two that fight."""
    wide = "avx512f" in cpu_flags()
    environment = {
        "OPENBLAS_CORETYPE": "SkylakeX" if wide else "Haswell",
        "ATEN_CPU_CAPABILITY": "avx512" if wide else "avx2",
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
        "MALLOC_TOP_PAD_": str(256 << 20),
    }
    for folder in Path("/usr/lib").glob("*/openblas-openmp"):
        environment["LD_LIBRARY_PATH"] = str(folder)
    return environment


def peer_setting():
    environment = peer_environment(1)
    blas = "openblas-openmp" if "LD_LIBRARY_PATH" in environment else "system BLAS"
    return f"tuned: {environment['OPENBLAS_CORETYPE']}, {environment['ATEN_CPU_CAPABILITY']}, {blas}"


def run_for_usage(command, environment=None, cwd=None):
    """Standard output and resource usage of a command, its children included."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
        )
        output = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise Failed(f"{Path(command[0]).name} ended with {process.returncode}: {last[0]}")
    return output.decode(), usage


class BuildTree:
    """One CMake build folder: configured on first use, a target built at most once."""

    def __init__(self, source, folder, *options):
        self.source, self.folder, self.options = source, folder, options
        self._built = {}
        self._configured = False

    def build(self, target):
        """Path of the program or library; raises Failed, the same way each time, when it cannot be built."""
        if target not in self._built:
            try:
                self._configure()
                self._cmake("--build", self.folder, "--target", target, "-j", str(os.cpu_count()))
                self._built[target] = self._find(target)
            except Failed as failure:
                self._built[target] = failure
        if isinstance(self._built[target], Failed):
            raise self._built[target]
        return self._built[target]

    def compile_command(self, source):
        """The compiler call for one source file as CMake would do it, but at -O2 and without warnings, cache, output."""
        self._configure()
        entries = json.loads((self.folder / "compile_commands.json").read_text())
        for entry in entries:
            if Path(entry["file"]) == source:
                words = shlex.split(entry["command"])
                words = words[1:] if Path(words[0]).name == "ccache" else words
                del words[words.index("-o") : words.index("-o") + 2]
                kept = [word for word in words if word not in ("-c", entry["file"]) and not word.startswith("-W")]
                return kept + ["-O2", "-c"]
        raise Failed(f"{source.relative_to(ROOT)} is not part of the build")

    def _configure(self):
        if not self._configured:
            generator = ["-G", "Ninja"] if shutil.which("ninja") else []
            always = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
            self._cmake("-S", self.source, "-B", self.folder, *generator, *always, *self.options)
            self._configured = True

    def _cmake(self, *arguments):
        log = self.folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            command = ["cmake", *map(str, arguments)]
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode != 0:
                raise Failed(f"not built, see {log.relative_to(ROOT)}")

    def _find(self, target):
        for path in self.folder.rglob("*"):
            if path.name in (target, f"lib{target}.so") and path.is_file():
                return path
        raise Failed(f"{target} was built but is not there")


class Gradus:
    """Gradus's side, and the floors of the machine."""

    name = "Gradus"
    targets = {
        "train": "bench_gradus_train",
        "ops": "bench_gradus_ops",
        "floors": "bench_floors",
        "hello": "bench_hello",
        "size": "gradus",
    }

    def __init__(self, folder):
        self.folder = folder
        self.tree = BuildTree(ROOT, folder / "gradus", "-DGRADUS_BUILD_TESTS=OFF")

    def side(self, group):
        """What measures the group once on this side; None when this side has no such figure."""
        if group.program in ("train", "ops", "floors"):
            program, environment = self.targets[group.program], gradus_environment(group.threads)
            return lambda: run_figures(self.tree.build(program), group, environment)
        return {
            "hello": lambda: start_up(self.tree.build("bench_hello"), {}),
            "compile_header": lambda: compile_header(self.tree, BENCH / "hello.cpp", "gradus/gradus.h", self.folder),
            "compile_script": lambda: compile_script(self.tree, ROOT / "examples" / "fashion_mnist.cpp"),
            "size": lambda: stripped_size(self.tree.build("gradus")),
            "build": lambda: clean_build(self.folder / "clean"),
        }[group.program]


class LibTorch:
    """The peer's side. LibTorch itself comes as a package: how long it builds is not measured."""

    targets = {"train": "peer_train", "ops": "peer_ops", "hello": "peer_hello", "size": "peer_hello"}

    def __init__(self, folder):
        self.folder = folder
        self.tree = BuildTree(BENCH / "peers", folder / "peers")
        try:
            output, _ = run_for_usage([self.tree.build("peer_hello")])
            self.name, self.present = f"{json.loads(output)['version']} ({peer_setting()})", True
        except Failed:
            self.name, self.present = f"LibTorch absent (apt-get install {LIBTORCH_PACKAGES})", False

    def side(self, group):
        if not self.present:
            return None
        if group.program in ("train", "ops"):
            program, environment = self.targets[group.program], peer_environment(group.threads)
            return lambda: run_figures(self.tree.build(program), group, environment)
        source = BENCH / "peers"
        return {
            "hello": lambda: start_up(self.tree.build("peer_hello"), peer_environment(1)),
            "compile_header": lambda: compile_header(
                self.tree, source / "peer_hello.cpp", "torch/torch.h", self.folder
            ),
            "compile_script": lambda: compile_script(self.tree, source / "peer_train.cpp"),
            "size": lambda: stripped_size(loaded_library(self.tree.build("peer_hello"), "libtorch_cpu")),
        }.get(group.program)


def prepare(side, group):
    """Build what a group needs on one side, before anything is timed. A failure shows again when it is run."""
    try:
        if group.program in side.targets:
            side.tree.build(side.targets[group.program])
    except Failed:
        pass


def run_figures(program, group, environment):
    command = [program, "--threads", group.threads, "--seconds", group.seconds, *group.ids]
    output, _ = run_for_usage(command, environment)
    lines = [json.loads(line) for line in output.splitlines()]
    return {line["id"]: Line(line["value"], line["cpu"]) for line in lines}


def loaded_library(program, name):
    """The path of a shared library that a program loads."""
    output, _ = run_for_usage(["ldd", program])
    for line in output.splitlines():
        if name in line and "=>" in line:
            return Path(line.split("=>")[1].split()[0])
    raise Failed(f"{program.name} does not load {name}")


def start_up(program, environment, times=10):
    """Milliseconds from starting a process to having reaped it: the median of a few, after one that fills the cache."""
    walls, cpus = [], []
    with open(os.devnull, "w") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), 1)]
        for _ in range(times + 1):
            begin = time.perf_counter()
            pid = os.posix_spawn(program, [str(program)], {**os.environ, **environment}, file_actions=actions)
            _, status, usage = os.wait4(pid, 0)
            walls.append(time.perf_counter() - begin)
            cpus.append(usage.ru_utime + usage.ru_stime)
            if status != 0:
                raise Failed(f"{program.name} failed")
    return {"start/hello": Line(sorted(walls[1:])[times // 2] * 1e3, min(cpus) * 1e3)}


def timed_compile(command, source):
    """Seconds on the wall, in CPU time, and megabytes of the compiler."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        _, usage = run_for_usage([*command, source, "-o", Path(folder) / "probe.o"])
        wall = time.perf_counter() - begin
    return Line(wall, usage.ru_utime + usage.ru_stime), Line(usage.ru_maxrss / 1e3, usage.ru_maxrss / 1e3)


def compile_header(tree, like, header, folder):
    """A file that includes one header and nothing else, with the flags of the source file `like`."""
    probe = folder / f"probe_{Path(header).stem}.cpp"
    probe.write_text(f"#include <{header}>\n")
    seconds, _ = timed_compile(tree.compile_command(like), probe)
    return {"compile/header": seconds}


def compile_script(tree, source):
    seconds, memory = timed_compile(tree.compile_command(source), source)
    return {"compile/script": seconds, "compile/script_memory": memory}


def stripped_size(library):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "library.so"
        run_for_usage(["strip", "-o", copy, library.resolve()])
        megabytes = copy.stat().st_size / 1e6
    return {"size/library": Line(megabytes, megabytes)}


def clean_build(folder):
    """The library alone, from nothing, on all cores, without a compiler cache."""
    shutil.rmtree(folder, ignore_errors=True)
    tree = BuildTree(ROOT, folder, "-DGRADUS_BUILD_TESTS=OFF", "-DGRADUS_BUILD_EXAMPLES=OFF")
    os.environ["CCACHE_DISABLE"] = "1"
    try:
        begin = time.perf_counter()
        tree.build("gradus")
        seconds = time.perf_counter() - begin
    finally:
        del os.environ["CCACHE_DISABLE"]
        shutil.rmtree(folder, ignore_errors=True)
    return {"build/library": Line(seconds, seconds)}
