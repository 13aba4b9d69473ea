"""What all benchmarks say of the machine, and how they write their results."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("LISER_TEST_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
"""Real recordings: talking_heads/, hard_videos/, ravdess/."""
S2D_WEIGHTS, HUBERT_WEIGHTS = "LISER_S2D", "LISER_HUBERT"
"""Variables of the environment with trained weights: two files with a comma between; a folder."""


def videos(folder: str) -> list[Path]:
    """The real recordings in a folder of `DATA`, by name; exits where there are none."""
    if not (DATA / folder).is_dir():
        sys.exit(f"no recordings in {DATA / folder}: set LISER_TEST_DATA to the folder that holds {folder}/")
    return [path for path in sorted((DATA / folder).iterdir()) if path.suffix in (".mp4", ".mov", ".mpg")]


def find_weights() -> None:
    """Have YuNet's weights looked for beside `DATA` where DEEPFACE_HOME does not say where they are."""
    os.environ.setdefault("DEEPFACE_HOME", str(DATA.parent / "weights"))


def add_writing(parser: argparse.ArgumentParser) -> None:
    """The options of a benchmark that say whether its figures count, and where they go."""
    parser.add_argument("--quick", action="store_true", help="try the script out; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the figures, in place of benchmarks/results")


def results_folder(options: argparse.Namespace) -> Path | None:
    """Where figures are to be written; None: nowhere, since they mean nothing and no folder was named."""
    return options.results or (None if options.quick else RESULTS)


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


def describe_busy(packages: Sequence[str]) -> str:
    """`describe`, with the memory, and how busy the machine was."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    return describe(packages, memory, f"load at the end (1, 5, 15 minutes) {load}")


def shown(value: float) -> str:
    """Three digits, as people write them."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], n_left: int = 1) -> str:
    """A table in Markdown: the first columns are aligned left, as words are, the others right."""
    rules = ["---"] * n_left + ["---:"] * (len(head) - n_left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def write_json(path: Path, command: str, machine: str, figures: Mapping[str, tuple[float, str]]) -> None:
    """Write figures for a program to read: by name, each with its unit ("1" for a ratio)."""
    values = {name: {"value": value, "unit": unit} for name, (value, unit) in figures.items()}
    content = {"command": command, "machine": machine, "figures": values}
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process had resident so far (`getrusage` would count its parent's before the start)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def memory_together(pid: int) -> int:
    """Bytes of a process and all that it started, where shared memory counts once (PSS)."""
    total = 0
    for one in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
        with suppress(OSError):  # it has ended
            total += proportional_bytes(one)[0]
    return total


def proportional_bytes(pid: int) -> tuple[int, int]:
    """Bytes of a process, its part of what it shares with others; and how many of them are shared memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return 1024 * kilobytes.get("Pss", 0), 1024 * kilobytes.get("Pss_Shmem", 0)
