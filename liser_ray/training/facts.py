"""What a record says of where it was made: commit and machine."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from liser_ray.training.precision import Precision, able_precision


def machine_facts(device: torch.device, precision: Precision) -> dict[str, Any]:
    """What rounding depends on: processor, its instructions, threads, the arithmetic that was used; perhaps a GPU."""
    facts = {
        "cpu": _cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": able_precision(device, precision),
    }
    return facts | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str:
    """The commit of the source tree, with "+" if it was changed since; "" outside one, or in somebody else's."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "HEAD").strip() + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return ""
