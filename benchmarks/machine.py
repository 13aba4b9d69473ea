"""What all benchmarks say of the machine, and how they write their results."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
import torch


def describe(packages: Sequence[str], *more: str) -> str:
    """Processor, cores, GPU, Python and packages in one line."""
    cpu = platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = next(iter(names), cpu)
    gpus = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    parts = [f"{cpu} with {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores", *gpus, *more]
    libraries = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{'; '.join(parts)}; Python {platform.python_version()}, {libraries}."


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and rename it."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def write_json(path: Path, figures: Mapping[str, tuple[float, str]], command: str, machine: str) -> None:
    """Write figures for programs: each name's value and unit, with the command and the machine beside them."""
    values = {name: {"value": value, "unit": unit} for name, (value, unit) in figures.items()}
    write_whole(path, json.dumps({**values, "command": command, "machine": machine}, indent=1) + "\n")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process had resident so far (`getrusage` would count its parent's before the start)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def memory_together(pid: int) -> int:
    """Bytes of a process and all that it started, where shared memory counts once (PSS)."""
    return sum(map(_proportional_bytes, [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]))


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
