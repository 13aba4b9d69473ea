"""All of `make bench`: each benchmark in a process of its own, then one table and one JSON file of what they found.

`python benchmarks/bench.py` takes up to three quarters of an hour on two cores and writes benchmarks/results/bench.md
and bench.json from the JSON files of its parts; `--only end_to_end` runs one part and makes the table anew; `--quick`
tries all parts out in a few minutes and writes nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machine import RESULTS, shown, write_whole

HERE = Path(__file__).parent
PARTS = {  # script: what its figures are about
    "label_stages": "Stage by stage, one core",
    "teacher_speed": "Teachers against the machine's matrix products",
    "end_to_end": "End to end, all cores",
    "growth": "Growth",
}
DESCRIPTION = """\
Runs the benchmarks and sums them up:

  python benchmarks/bench.py                    all parts on the CPU
  python benchmarks/bench.py --device cuda      the teachers on a GPU too
  python benchmarks/bench.py --only growth      one part; the others' figures stay as they were
"""


def run(script: str, arguments: Sequence[str]) -> bool:
    """Run one of the scripts here, its output on ours; whether it ended well."""
    started = time.monotonic()
    print(f"== {script} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, str(HERE / f"{script}.py"), *arguments], check=False)
    print(
        f"== {script}: {'done' if not done.returncode else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True
    )
    return not done.returncode


def summary(results: Path) -> tuple[str, dict[str, object]]:
    """One table of all figures of the parts that there are, and the same for a program."""
    lines, found = ["# All benchmarks", "", "Made by `make bench` from the parts' own results.", ""], {}
    for script, title in PARTS.items():
        for path in sorted(results.glob(f"{script}*.json")):
            content = json.loads(path.read_text())
            found[path.stem] = content
            page = path.with_suffix(".md").name
            lines += [f"## {title}", "", f"`{content['command']}` ([{page}]({page})). {content['machine']}", ""]
            lines += ["| figure | value | unit |", "| --- | ---: | --- |"]
            for name, figure in content["figures"].items():
                unit = "" if figure["unit"] == "1" else figure["unit"]
                lines.append(f"| {name} | {shown(figure['value'])} | {unit} |")
            lines.append("")
    return "\n".join(lines), found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="run one part")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: the teachers on a GPU too")
    parser.add_argument("--quick", action="store_true", help="try the parts out; the figures mean nothing")
    options = parser.parse_args(arguments)
    quick = ["--quick"] if options.quick else []
    calls = [(script, quick) for script in PARTS if options.only in (None, script)]
    if options.device == "cuda":
        calls += [(script, [*quick, "--device", "cuda"]) for script, _ in calls if script == "teacher_speed"]
    failed = [script for script, more in calls if not run(script, more)]
    if not options.quick:
        text, found = summary(RESULTS)
        write_whole(RESULTS / "bench.md", text)
        write_whole(RESULTS / "bench.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"Written: {RESULTS / 'bench.md'}, {RESULTS / 'bench.json'}")
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
