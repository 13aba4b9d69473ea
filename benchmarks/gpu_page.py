"""The page and the JSON file of gpu.sh, which calls this with its command, its parts' folder and the results'.

A part that has written no page, since it has no figures or failed, is there with the end of what it printed.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import write_whole

STOPPED = (124, 137)  # what `timeout` ends with
LAST_LINES = 12


@dataclass(frozen=True)
class Part:
    """A part that has run.

    Attributes:
        name: of it, and of its folder.
        seconds, limit_s: that it took, and after which it is stopped.
        end: "done", or what became of it.
        page: Markdown that it has written, else the end of what it printed.
        figures: as `write_json` writes them, if it has any.
    """

    name: str
    seconds: int
    limit_s: int
    end: str
    page: str
    figures: dict[str, Any] | None


def read_part(folder: Path, name: str, seconds: str, limit_s: str, status: str) -> Part:
    """A part from its folder, its log and how it ended."""
    code = int(status)
    end = "stopped at its limit" if code in STOPPED else f"failed ({code})" if code else "done"
    pages, figures = (list((folder / name).glob(pattern)) for pattern in ("*.md", "*.json"))
    printed = (folder / f"{name}.log").read_text(errors="replace").splitlines()
    page = "\n".join(["```", *printed[-LAST_LINES:], "```"])
    if pages:
        page = pages[0].read_text().split("\n", 1)[1].strip()  # without its heading
    found = json.loads(figures[0].read_text()) if figures else None
    return Part(name, int(seconds), int(limit_s), end, page, found)


def page_of(command: str, parts: Sequence[Part]) -> str:
    """How each part ended, and their pages one after the other."""
    lines = ["# One GPU", "", f"Made by `{command}`.", "", "| part | s | at most, s | |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {one.name} | {one.seconds} | {one.limit_s} | {one.end} |" for one in parts]
    return "\n".join(lines) + "\n\n" + "\n\n".join(f"## {one.name}\n\n{one.page}" for one in parts) + "\n"


def main(arguments: Sequence[str]) -> int:
    command, work, *results = arguments
    folder = Path(work)
    parts = [read_part(folder, *line.split("\t")) for line in (folder / "parts.tsv").read_text().splitlines()]
    page = page_of(command, parts)
    print(page)
    if results:
        content = {"command": command, "parts": [asdict(one) for one in parts]}
        write_whole(Path(results[0]) / "gpu.md", page)
        write_whole(Path(results[0]) / "gpu.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return int(any(one.end != "done" for one in parts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
