"""What all benchmarks say of the machine, and how they write their results."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

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
