"""Time and memory of the labeling job against the number of spans and against their length.

`python benchmarks/growth.py` labels generated talking heads with teachers that cost little, so that what Ray and the
job cost for a span counts: 10, 100, 1,000 and 10,000 spans of one window each, then the same video in spans of 4 to
32 s. Writes benchmarks/results/growth.md and .json; `--largest` leaves out larger corpora, `--quick` tries the script
out in a minute and writes nothing. It needs YuNet's weights (DEEPFACE_HOME, by default beside LISER_TEST_DATA).
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from labeling_ways import import_all, run_job, small_teachers
from machine import add_writing, describe_busy, find_weights, markdown, results_folder, shown, write_json, write_whole
from process_tree import Watched, watch

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig
from liser_ray.media.span import MediaConfig

SPANS = (10, 100, 1000, 10_000)
SPANS_PER_RECORDING = 10
WINDOW_S = 0.534
LENGTHS_S = (4.0, 8.0, 16.0, 32.0)
LONG_RECORDINGS, LONG_S = 12, 31.9  # so that sound that a codec adds makes no span of its own
LINEAR = 1.05  # an exponent up to it is linear: runs differ by that much
MB = 1e6


@dataclass(frozen=True)
class Grown:
    """A job of one size.

    Attributes:
        size: spans, or seconds of a span.
        run: the job, watched.
        files: that it wrote.
        written: bytes in them.
    """

    size: float
    run: Watched
    files: int
    written: int

    @property
    def spans(self) -> int:
        return self.run.done[-1].spans

    @property
    def work_s(self) -> float:
        """From the first finished span to the end of the process."""
        return self.run.seconds - self.run.start_up_s

    @property
    def per_span_s(self) -> float:
        """Wall seconds for a span in the steady state; 0 where the job was too short for one."""
        wall_s, _, _, spans = self.run.steady()
        return wall_s / spans if spans else 0.0

    @property
    def per_video_s(self) -> float:
        """The same for a second of video."""
        wall_s, _, video_s, _ = self.run.steady()
        return wall_s / video_s if video_s else 0.0


COLUMNS: dict[str, tuple[str, str, Callable[[Grown], float]]] = {
    "start_up": ("s", "start-up, s", lambda one: one.run.start_up_s),
    "work": ("s", "first span to the end, s", lambda one: one.work_s),
    "close": ("s", "of it after the last span, s", lambda one: one.run.close_s),
    "per_span": ("s", "s per span, steady", lambda one: one.per_span_s),
    "per_video_s": ("s", "s per s of video, steady", lambda one: one.per_video_s),
    "cpu": ("CPU-s", "CPU-s, whole run", lambda one: one.run.cpu_s),
    "driver_memory": ("bytes", "driver, MB", lambda one: float(one.run.peak_root)),
    "memory": ("bytes", "all processes, MB", lambda one: float(one.run.peak_memory)),
    "shared": ("bytes", "of it shared, MB", lambda one: float(one.run.peak_shared)),
    "spilled": ("bytes", "spilled, MB", lambda one: float(one.run.value["spilled"])),
    "files": ("files", "files written", lambda one: float(one.files)),
    "written": ("bytes", "written, MB", lambda one: float(one.written)),
}
GROWS = ("work", "per_span", "cpu", "driver_memory", "memory", "files", "written")


def make_corpus(folder: Path, recordings: int, duration_s: float, keyframe_every: int) -> Path:
    """One generated talking head, 240 x 240 at 30 Hz, under many names."""
    from talking_heads import write_talking_head

    folder.mkdir()
    first = write_talking_head(
        folder / "00000.mp4", duration_s, fps=30, codec_options={"g": str(keyframe_every), "bf": "0"}
    )
    for number in range(1, recordings):
        os.link(first, folder / f"{number:05}.mp4")
    return folder


def label(config: LabelConfig, size: float, spans: int) -> Grown:
    """The job in a process of its own; refuses one that has not labeled all spans."""
    run = watch(run_job, config)
    if run.value["outcomes"] != {"labeled:": spans}:
        raise RuntimeError(f"{spans} spans were to be labeled, but they ended as {run.value['outcomes']}")
    files = [path for path in Path(config.output).rglob("*") if path.is_file()]
    return Grown(size, run, len(files), sum(path.stat().st_size for path in files))


def by_spans(sizes: Sequence[int], temporary: Path, settings: Callable[..., LabelConfig]) -> list[Grown]:
    """Corpora of recordings of ten spans, one window long each."""
    found = []
    for spans in sizes:
        n_recordings = spans // SPANS_PER_RECORDING
        corpus = make_corpus(temporary / f"corpus-{spans}", n_recordings, SPANS_PER_RECORDING * WINDOW_S, 16)
        found.append(label(settings(corpus, temporary / f"spans-{spans}", WINDOW_S), spans, spans))
        print(f"{spans:,} spans in {found[-1].run.seconds:.1f} s", flush=True)
    return found


def by_length(lengths_s: Sequence[float], temporary: Path, settings: Callable[..., LabelConfig]) -> list[Grown]:
    """The same recordings in longer and longer spans."""
    if not lengths_s:
        return []
    corpus = make_corpus(temporary / "corpus-long", LONG_RECORDINGS, LONG_S, 30)
    found = []
    for span_s in lengths_s:
        spans = LONG_RECORDINGS * math.ceil(LONG_S / span_s)
        found.append(label(settings(corpus, temporary / f"length-{span_s:g}", span_s), span_s, spans))
        print(f"spans of {span_s:g} s in {found[-1].run.seconds:.1f} s", flush=True)
    return found


def exponent(found: Sequence[Grown], of: str) -> float | None:
    """Of a figure between the two largest sizes: 1 is linear; None where it can't be told."""
    if len(found) < 2:
        return None
    less, more = (COLUMNS[of][2](one) for one in found[-2:])
    return math.log(more / less) / math.log(found[-1].size / found[-2].size) if min(less, more) > 0 else None


def verdict(exponents: Mapping[str, float | None]) -> str:
    """Whether anything grows faster than linearly with the number of spans; a rate per span must not grow at all."""
    grows = []
    for name, value in exponents.items():
        limit = LINEAR - 1 if name == "per_span" else LINEAR
        if value is not None and value > limit:
            grows.append(f"{COLUMNS[name][1]} (exponent {value:.2f})")
    return f"Faster than linearly: {', '.join(grows)}." if grows else "Nothing grows faster than linearly."


def table(found: Sequence[Grown], what: str) -> str:
    """A line for each size, and one of exponents."""
    rows = []
    for one in found:
        cells = [shown(value(one) / (MB if unit == "bytes" else 1)) for unit, _, value in COLUMNS.values()]
        rows.append([f"{one.size:,g}", f"{one.spans:,}", *cells])
    known = {name: exponent(found, name) for name in GROWS}
    rows.append(["**exponent**", "", *(_short(known.get(name)) for name in COLUMNS)])
    return markdown([what, "spans", *(title for _, title, _ in COLUMNS.values())], rows, n_left=0)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def figures_of(spans: Sequence[Grown], lengths: Sequence[Grown]) -> dict[str, tuple[float, str]]:
    """Every figure by its name, with its unit."""
    figures = {}
    for prefix, found in (("spans", spans), ("span_seconds", lengths)):
        for one in found:
            for name, (unit, _, value) in COLUMNS.items():
                figures[f"{prefix}_{one.size:g}_{name}"] = (value(one), unit)
        for name in GROWS:
            if (fitted := exponent(found, name)) is not None:
                figures[f"{prefix}_{name}_exponent"] = (fitted, "exponent")
    return figures


def report(spans: Sequence[Grown], lengths: Sequence[Grown]) -> str:
    """Both tables and what was measured how."""
    exponents = {name: exponent(spans, name) for name in GROWS}
    last = f"{spans[-2].size:,g} to {spans[-1].size:,g} spans" if len(spans) > 1 else "one size"
    return f"""## Number of spans

{table(spans, "size")}

{verdict(exponents)} (From {last}.)

## Length of a span

The same {LONG_RECORDINGS * LONG_S:.0f} s of video, cut into spans of so many seconds:

{table(lengths, "s per span")}

- Recordings are one generated talking head (240 x 240, 30 Hz, a keyframe for each span or second) under many names,
  faces found by YuNet. Spans of the first table are {WINDOW_S:.3f} s, one window of the video teacher,
  the shortest that the plan cuts, {SPANS_PER_RECORDING} to a recording: what Ray and the job cost for a span counts.
- Teachers are a static classifier that takes means and a HuBERT of two narrow layers. Pools have a decoder per core.
- Start-up: from the start of Python to the first span that has passed the last stage (imports, plan, Ray, its
  workers). Steady: between a tenth and nine tenths of the video; in the smallest sizes it is a few looks of 0.25 s.
- The exponent is that between the two largest sizes: 1 is linear, 0 does not grow. Time is without start-up. In the
  second table the number of spans falls as their length grows.
- Driver: the most that the process which starts the job had resident, its teachers' check included. All processes:
  what they share counted once (PSS), looked at every two seconds. Spilled: by the object store's own count.
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=int, default=SPANS[-1], help="spans of the largest corpus")
    add_writing(parser)
    options = parser.parse_args(arguments)
    find_weights()
    sizes = [10] if options.quick else [size for size in SPANS if size <= options.largest]
    lengths_s = () if options.quick else LENGTHS_S
    if not options.quick:
        watch(import_all)
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        temporary = Path(name)
        teachers = small_teachers(temporary / "teachers")

        def settings(corpus: Path, output: Path, span_s: float) -> LabelConfig:
            return LabelConfig(
                input=str(corpus),
                output=str(output),
                teachers=teachers,
                plan=PlanConfig(span_seconds=span_s),
                # A window may fall into a pause.
                media=MediaConfig(min_speech_fraction=0.0),
            )

        spans = by_spans(sizes, temporary, settings)
        lengths = by_length(lengths_s, temporary, settings)
    command = " ".join(["python benchmarks/growth.py", *arguments])
    machine = describe_busy(("ray", "pyarrow", "torch"))
    text = f"""# Growth with the number of spans and with their length

Made by `{command}`.

{report(spans, lengths)}
Machine: {machine}
"""
    print(text)
    if folder := results_folder(options):
        write_whole(folder / "growth.md", text)
        write_json(folder / "growth.json", command, machine, figures_of(spans, lengths))


if __name__ == "__main__":
    main(sys.argv[1:])
