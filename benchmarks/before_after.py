"""Two versions beside each other: ``python benchmarks/before_after.py OTHER_CHECKOUT label_stages end_to_end``.

Reads the figures that these benchmarks wrote in this checkout and in another one (an older version, measured on the
same machine at the same time, such as each on a core of its own by ``taskset``), and writes those that both have, with
their ratios, to benchmarks/results/before_after.md.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from machine import write_whole

RESULTS = Path("benchmarks") / "results"
HERE = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str]) -> None:
    other, *names = arguments
    versions = [
        subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        for folder in (Path(other), HERE)
    ]
    before, now = (one.stdout.strip() for one in versions)
    text = f"# This version beside an older one\n\nMade by `benchmarks/before_after.py`: {before} before, {now} now.\n"
    for name in names:
        files = [folder / RESULTS / f"{name}.json" for folder in (Path(other), HERE)]
        text += "\n" + table(name, *(json.loads(one.read_text()) for one in files))
    print(text)
    write_whole(HERE / RESULTS / "before_after.md", text)


def table(name: str, before: dict, now: dict) -> str:
    """The figures that both have."""
    lines = [f"## {name}.py", "", "| | unit | before | now | now / before |", "|---|---|--:|--:|--:|"]
    for what, figure in now["figures"].items():
        old = before["figures"].get(what)
        if old is not None and old["value"]:
            ratio = figure["value"] / old["value"]
            lines.append(f"| {what} | {figure['unit']} | {old['value']:.4g} | {figure['value']:.4g} | {ratio:.2f} |")
    return "\n".join([*lines, "", f"Machine: {now['machine']}", ""])


if __name__ == "__main__":
    main(sys.argv[1:])
