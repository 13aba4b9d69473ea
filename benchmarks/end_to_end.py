"""Hours of video labeled per hour by the whole job on Ray, beside a plain pool of processes and the naive script.

Run with the real recordings (LISER_TEST_DATA) and YuNet's weights (DEEPFACE_HOME, by default weights/ beside them):
`python benchmarks/end_to_end.py`. Writes benchmarks/results/end_to_end.md and .json; with `--full_size` (S2D and HuBERT
base instead of small teachers) end_to_end_full_size.*. `--rounds 3` runs all ways three times, in turns, and says how
far their shares are apart; `--ways job` runs the job alone, on a GPU where there is one. `--quick` tries the script out
in a minute.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from labeling_ways import full_teachers, import_all, run_job, run_naive, run_pool, small_teachers
from machine import add_writing, describe_busy, find_weights, markdown, results_folder, videos, write_json, write_whole
from process_tree import Watched, watch

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig, fit_pools
from liser_ray.media.reader import Reader
from liser_ray.runtime.cluster import CPUS_FOR_RAY

CORES = os.cpu_count() or 1
JOB, POOL, MEDIA, NAIVE = "job", "pool", "media", "naive"
WAYS = {
    JOB: "the job",
    POOL: "plain pool, a process per core",
    MEDIA: "media stage alone in such a pool",
    NAIVE: "naive script, one process",
}
QUICK_WAYS = (JOB, POOL)
MB = 1e6


@dataclass(frozen=True)
class Size:
    """How much is labeled.

    Attributes:
        spans: at least; from as many copies of the recordings.
        span_s: length of a span in seconds.
        naive_s: of each recording that the naive script labels.
        recordings: of how many it does.
    """

    spans: int
    span_s: float
    naive_s: float
    recordings: int | None = None


SMALL = Size(spans=240, span_s=16.0, naive_s=4.0)
FULL_SIZE = Size(spans=20, span_s=4.0, naive_s=1.2, recordings=7)
QUICK = Size(spans=4, span_s=4.0, naive_s=0.6, recordings=2)


def recordings_by_length(paths: Sequence[Path]) -> list[tuple[float, Path]]:
    """Seconds and path of each recording, the shortest first."""
    found = []
    for path in paths:
        with Reader(str(path)) as reader:
            found.append((reader.header.duration_s or 0.0, path))
    return sorted(found)


def copy_corpus(recordings: Sequence[tuple[float, Path]], size: Size, folder: Path) -> int:
    """Copies of the recordings, round after round, until they have enough spans; how many copies there are."""
    folder.mkdir()
    copies = spans = 0
    while spans < size.spans:
        duration_s, path = recordings[copies % len(recordings)]
        shutil.copyfile(path, folder / f"{copies:05}_{path.name}")
        spans += max(1, round(duration_s / size.span_s + 0.49))
        copies += 1
    return copies


def measure(
    config: LabelConfig, ways: Sequence[str], paths: Sequence[Path], size: Size, folder: Path
) -> Iterator[tuple[str, Watched]]:
    """Each way that is asked for, in turn."""
    folder.mkdir()

    def at(name: str, settings: LabelConfig = config) -> LabelConfig:
        (folder / name).mkdir()
        return replace(settings, output=str(folder / name))

    steps: dict[str, Callable[[], Watched]] = {
        JOB: lambda: watch(run_job, at(JOB)),
        POOL: lambda: watch(run_pool, at(POOL), CORES),
        MEDIA: lambda: watch(run_pool, at(MEDIA), CORES, True),
        NAIVE: lambda: watch(run_naive, config, paths, size.naive_s),
    }
    for way in ways:
        yield way, steps[way]()


def figures_of(found: dict[str, Watched]) -> dict[str, tuple[float, str]]:
    """Every figure by its name, with its unit."""
    figures: dict[str, tuple[float, str]] = {}
    for name, one in found.items():
        wall_s, cpu_s, video_s, _ = one.steady()
        start_up_s = one.start_up_s if name != NAIVE else 0.0
        figures |= {
            f"{name}_spans": (float(one.done[-1].spans), "spans"),
            f"{name}_video": (one.video_s, "s"),
            f"{name}_seconds": (one.seconds, "s"),
            f"{name}_whole": (one.video_s / one.seconds, "h of video/h"),
            f"{name}_steady": (video_s / wall_s if wall_s else 0.0, "h of video/h"),
            f"{name}_start_up": (start_up_s, "s"),
            f"{name}_close": (one.close_s, "s"),
            f"{name}_cpu": (one.cpu_s / one.video_s, "CPU-s per s of video"),
            f"{name}_steady_cpu": (cpu_s / video_s if video_s else 0.0, "CPU-s per s of video"),
            f"{name}_peak_memory": (float(one.peak_memory), "bytes"),
            f"{name}_peak_shared": (float(one.peak_shared), "bytes"),
        }
        figures |= {
            f"{name}_{stage}_busy": (busy_s / one.video_s, "worker-s per s of video")
            for stage, busy_s in (one.value or {}).get("busy_s", {}).items()
        }
        if name == JOB:
            figures[f"{name}_spilled"] = (float(one.value["spilled"]), "bytes")
            rate = figures[f"{name}_steady"][0]
            for stage, busy_s in one.value["busy_s"].items():
                figures[f"{name}_{stage}_at_work"] = (rate * busy_s / one.video_s, "workers, steady")
            media_s, *teachers_s = one.value["busy_s"].values()
            figures[f"{name}_decoders_for_the_teachers"] = (media_s / sum(teachers_s), "workers")
            figures[f"{name}_steady_cores"] = (cpu_s / wall_s if wall_s else 0.0, "cores")
    return figures | (shares(found) if POOL in found else {})


def shares(found: dict[str, Watched]) -> dict[str, tuple[float, str]]:
    """The job's steady state as shares of the pool's, of the slowest stage's ceiling, and of all stages' together."""

    def rate(name: str) -> float:
        wall_s, _, video_s, _ = found[name].steady()
        return video_s / wall_s if wall_s else 0.0

    busy_s = found[POOL].value["busy_s"]
    slowest = max(busy_s, key=lambda stage: busy_s[stage])
    apart = slowest == "media" and MEDIA in found
    alone = rate(MEDIA) if apart else CORES * found[POOL].video_s / busy_s[slowest]
    shared = CORES * found[POOL].video_s / sum(busy_s.values())
    return {
        "ceiling": (alone, "h of video/h"),
        "shared_ceiling": (shared, "h of video/h"),
        f"{JOB}_of_pool": (rate(JOB) / max(1e-9, rate(POOL)), "share"),
        f"{JOB}_of_ceiling": (rate(JOB) / max(1e-9, alone), "share"),
        f"{POOL}_of_ceiling": (rate(POOL) / max(1e-9, alone), "share"),
        f"{JOB}_of_shared_ceiling": (rate(JOB) / shared, "share"),
        f"{POOL}_of_shared_ceiling": (rate(POOL) / shared, "share"),
    }


def middle(rounds: Sequence[dict[str, Watched]]) -> int:
    """Number of the round whose job has the median share of its pool; of two in the middle the lower.

    Where no pool has run, the last round.
    """
    if POOL not in rounds[0]:
        return len(rounds) - 1
    by_share = sorted(range(len(rounds)), key=lambda k: shares(rounds[k])[f"{JOB}_of_pool"][0])
    return by_share[(len(rounds) - 1) // 2]


def table(figures: dict[str, tuple[float, str]], names: Sequence[str]) -> str:
    """One line for each way."""
    head = (
        "way",
        "spans",
        "s of video",
        "video-h/h, whole run",
        "video-h/h, steady",
        "start-up, s",
        "after the last span, s",
        "CPU-s per s of video, whole run",
        "steady",
        "peak memory, MB",
        "of it shared, MB",
        "spilled, MB",
    )
    lines = []
    for name in names:

        def figure(what: str, form: str, scale: float = 1.0, name: str = name) -> str:
            known = f"{name}_{what}" in figures
            return format(figures[f"{name}_{what}"][0] / scale, form) if known else "–"

        lines.append(
            (
                WAYS[name],
                figure("spans", ".0f"),
                figure("video", ",.0f"),
                figure("whole", ".3g"),
                figure("steady", ".3g"),
                figure("start_up", ".1f") if name != NAIVE else "–",
                figure("close", ".1f"),
                figure("cpu", ".3g"),
                figure("steady_cpu", ".3g"),
                figure("peak_memory", ",.0f", MB),
                figure("peak_shared", ",.0f", MB),
                figure("spilled", ",.1f", MB),
            )
        )
    return markdown(head, lines)


def process_table(found: dict[str, Watched]) -> str:
    """CPU time by kind of process, in the job and in the pool."""
    names = [name for name in (JOB, POOL) if name in found]
    spent = {name: found[name].steady_cpu_s() for name in names}
    video_s = {name: max(1e-9, found[name].steady()[2]) for name in names}
    kinds = sorted(set().union(*spent.values()), key=lambda kind: -max(spent[name].get(kind, 0.0) for name in names))
    rows = []
    for kind in kinds:
        cells = [f"{1000 * spent[name][kind] / video_s[name]:.3g}" if kind in spent[name] else "–" for name in names]
        rows.append([kind, *cells])
    return markdown(["processes", *(WAYS[name] for name in names)], rows)


def stage_table(found: dict[str, Watched]) -> str:
    """Seconds that workers spent in each stage for a second of video, in the job and in the pool."""
    names = [name for name in (JOB, POOL, MEDIA) if name in found]
    stages = found[names[0]].value["busy_s"]
    rows = []
    for stage in stages:
        cells = []
        for name in names:
            value = found[name].value
            busy_s = value["busy_s"].get(stage)
            workers = value.get("workers", {}).get(stage, CORES)
            cells.append("–" if busy_s is None else f"{busy_s / found[name].video_s:.3g} ({workers} workers)")
        rows.append([str(stage), *cells])
    return markdown(["stage", *(WAYS[name] for name in names)], rows)


def round_table(rounds: Sequence[dict[str, Watched]]) -> str:
    """The job's shares in each round."""
    rows = []
    for number, found in enumerate(rounds, 1):
        of = shares(found)
        rows.append(
            [str(number), *(f"{of[f'{JOB}_of_{what}'][0]:.0%}" for what in ("pool", "ceiling", "shared_ceiling"))]
        )
    return markdown(
        ["round", "of the pool", "of the slowest stage's ceiling", "of all stages' ceiling"], rows, n_left=0
    )


def report(
    rounds: Sequence[dict[str, Watched]], figures: dict[str, tuple[float, str]], config: LabelConfig, title: str
) -> str:
    """Tables and what is compared."""
    found = rounds[middle(rounds)]
    outcomes = "; ".join(f"{name} {n:,}" for name, n in sorted(found[JOB].value["outcomes"].items()))
    pools = str(fit_pools(config, CORES + CPUS_FOR_RAY, torch.cuda.device_count())).removeprefix("Workers: ")

    def share(way: str, of: str) -> str:
        return f"{figures[f'{way}_of_{of}'][0]:.0%}"

    compared = all_rounds = others = ""
    if POOL in found:
        slowest = max(found[POOL].value["busy_s"], key=found[POOL].value["busy_s"].get)
        compared = f"""
In its steady state the job does {share(JOB, "pool")} of what the plain pool does. The slowest stage
({slowest}) with all cores to itself does {figures["ceiling"][0]:.3g} video-h/h; the pool reaches
{share(POOL, "ceiling")} of that and the job {share(JOB, "ceiling")}. But all stages share these cores. Together,
never waiting for anything, they do {figures["shared_ceiling"][0]:.3g} video-h/h; the pool reaches
{share(POOL, "shared_ceiling")} of that and the job {share(JOB, "shared_ceiling")}.
"""
        others = f"""\
- The pool runs the job's own functions in {CORES} processes, two spans at a time, one thread each, without a child
  process around the decoder, a checkpoint, or any limit on what a broken video may cost.
- The slowest stage's ceiling is the media stage alone in that pool where it is the slowest, else what the pool's
  workers took for that stage, on all cores. The ceiling of all stages is what they took for all of them, on all cores.
- The naive script labels the start of a few recordings; its figures are per second of video, so they stand for more.
  Its steady state begins with the second recording or so; its start-up is not told apart from its first recording.
"""
    if len(rounds) > 1 and POOL in found:
        all_rounds = f"""
All ways ran {len(rounds)} times, in turns. The tables are of round {middle(rounds) + 1}, whose job has the median share
of its pool. What the job did of each, round by round:

{round_table(rounds)}
"""
    at_work = ", ".join(f"{stage} {figures[f'{JOB}_{stage}_at_work'][0]:.3g}" for stage in found[JOB].value["busy_s"])
    return f"""{table(figures, list(found))}

In the job's steady state so many of its workers are at work, the others wait: {at_work}; all processes together take
{figures[f"{JOB}_steady_cores"][0]:.3g} of {CORES} cores. {figures[f"{JOB}_decoders_for_the_teachers"][0]:.3g} decoders
keep the teachers busy, if these take turns on one device (first calls included).
{compared}{all_rounds}
CPU milliseconds for a second of video in the steady state, by what they are spent in:

{process_table(found)}

Seconds of workers for a second of video:

{stage_table(found)}

- {title} Rows ended as {outcomes}, the same in every way with rows.
- Workers of the job, as it fits them: {pools}.
- Whole run: from the start of Python to its end, plan, last count and report included. Start-up: until the first span
  is finished. Steady: from the moment when a tenth of the video is finished until nine tenths are, so that neither
  workers that start nor the last spans' idle cores count; a span is finished when it has passed the last stage (job,
  asked for 4 times a second) or when the file with its row is written (pool).
{others}\
- Memory: all processes of a way, what they share counted once (PSS), looked at every two seconds. Spilled: what Ray's
  object store wrote to disk, by its own count.
- Workers of the pool and the naive script are as nice (15) as Ray's workers are, so that other work on the machine
  takes as much from each.
- CPU time is that of all processes; one that lived for less than two seconds is not in it.
"""


def check(found: dict[str, Watched]) -> None:
    """Every way with rows must have ended every span alike.

    Raises:
        RuntimeError: it has not.
    """
    outcomes = {name: found[name].value["outcomes"] for name in (JOB, POOL) if name in found}
    if any(one != outcomes[JOB] for one in outcomes.values()):
        raise RuntimeError(f"spans ended differently: {outcomes}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spans", type=int, help=f"at least so many (default: {SMALL.spans}, {FULL_SIZE.spans})")
    parser.add_argument("--span_seconds", type=float, help=f"(default: {SMALL.span_s:g}, {FULL_SIZE.span_s:g})")
    parser.add_argument("--full_size", action="store_true", help="S2D and HuBERT base instead of small teachers")
    parser.add_argument("--rounds", type=int, default=1, help="of all ways, in turns; the median one is told")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="the job among them (default: all)")
    add_writing(parser)
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL_SIZE if options.full_size else SMALL
    size = replace(size, spans=options.spans or size.spans, span_s=options.span_seconds or size.span_s)
    find_weights()
    recordings = recordings_by_length(videos("talking_heads"))
    paths = [path for _, path in recordings][: size.recordings]

    ways = options.ways or (QUICK_WAYS if options.quick else tuple(WAYS))
    if JOB not in ways:
        parser.error("--ways: what is measured is the job, so it must be among them")
    if not options.quick and len(ways) > 1:
        watch(import_all)
    with tempfile.TemporaryDirectory(prefix="end_to_end-") as name:
        temporary = Path(name)
        copies = copy_corpus(recordings, size, temporary / "corpus")
        make_teachers = full_teachers if options.full_size else small_teachers
        config = LabelConfig(
            input=str(temporary / "corpus"),
            teachers=make_teachers(temporary / "teachers"),
            plan=PlanConfig(span_seconds=size.span_s),
        )
        rounds: list[dict[str, Watched]] = []
        for number in range(max(1, options.rounds)):
            rounds.append({})
            for way, watched in measure(config, ways, paths, size, temporary / f"round_{number}"):
                rounds[-1][way] = watched
                print(f"{WAYS[way]}: {watched.done[-1].spans} spans in {watched.seconds:.1f} s", flush=True)
            check(rounds[-1])
    teachers = "S2D and HuBERT base with random weights" if options.full_size else "small ones that cost little"
    title = (
        f"{copies} copies of {len(recordings)} real talking heads in spans of {size.span_s:g} s; teachers: {teachers}."
    )
    figures = figures_of(rounds[middle(rounds)])
    if len(rounds) > 1 and POOL in ways:
        figures |= {
            f"round_{number}_{name}": share
            for number, found in enumerate(rounds, 1)
            for name, share in shares(found).items()
            if name.startswith(JOB)
        }
    command = " ".join(["python benchmarks/end_to_end.py", *arguments])
    machine = describe_busy(("ray", "torch", "onnxruntime", "av"))
    text = f"""# Hours of video per hour, end to end

Made by `{command}`.

{report(rounds, figures, config, title)}
Machine: {machine}
"""
    print(text)
    if results := results_folder(options):
        stem = "end_to_end_full_size" if options.full_size else "end_to_end"
        write_whole(results / f"{stem}.md", text)
        write_json(results / f"{stem}.json", command, machine, figures)


if __name__ == "__main__":
    main(sys.argv[1:])
