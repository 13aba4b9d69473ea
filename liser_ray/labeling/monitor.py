"""A running job as its driver sees it: what is shown, which stage holds the others up, and the record of the run."""

import json
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Self

from ray.util.metrics import Counter, Gauge

from liser_ray.labeling.config import Pools
from liser_ray.labeling.progress import Counts, JobCounts, Work, describe
from liser_ray.labeling.run_card import RunRecord
from liser_ray.media.outcome import Stage
from liser_ray.runtime.cluster import cluster_size, users_errors
from liser_ray.runtime.display import LiveDisplay
from liser_ray.storage.addresses import join
from liser_ray.storage.files import write_bytes

log = logging.getLogger(__name__)

_RECENT_S = 25.0  # how far back a busy share looks; a log shows one every half minute
_SAMPLE_EVERY_S = 30.0
_MAX_SAMPLES = 1000
_HOLDS_UP = 0.5  # a stage that is busy for less of the time holds nobody up

# Ray puts "ray_" before these names and exports them on the driver's node; deploy/grafana/ has a dashboard for them.
# They are the driver's, since the workers' own would end with each worker.
_COUNTERS = {
    "spans": "Spans that the stage has worked on",
    "busy_s": "Seconds that the stage's workers worked, all together",
    "windows": "Windows that went through the stage's teachers",
    "slots": "Windows that would have fitted into the batches they took",
}
_GAUGES = {
    "liser_stage_busy_share": "Share of the last half minute in which the stage's workers worked",
    "liser_stage_waiting_spans": "Spans that the stage before has passed on and the stage has not done",
    "liser_stage_workers": "Workers of the stage",
}


@contextmanager
def monitored(counts: JobCounts, pools: Pools, folder: str, spans: int, done: int = 0) -> Iterator[None]:
    """Context of a running job: it is shown, its record goes to ``folder``, and its workers' `UserError` is raised."""
    with (
        Monitor(counts.read, pools, folder) as monitor,
        LiveDisplay("spans", spans, monitor.look, done, monitor.stage_lines),
        users_errors(),
    ):
        yield


class Monitor:
    """To be looked at every now and then while a job runs; a context that writes the record when it is left."""

    def __init__(self, read: Callable[[], Counts], pools: Pools, folder: str):
        """Begin the record of a run with these pools in a folder; ``read`` gives what was done so far."""
        self._read = read
        self._pools = pools.by_stage
        now = datetime.now(UTC)
        self._record = RunRecord(now.isoformat(timespec="seconds"))
        self._uri = join(folder, f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}.json")
        self._recent: deque[tuple[float, Counts]] = deque([(0.0, Counts())])
        self._next_sample_s = 0.0
        self._sample_every_s = _SAMPLE_EVERY_S
        self._spans = Counter("liser_spans", "Spans that have come to their end", ("status", "reason"))
        self._video_s = Counter("liser_video_seconds", "Seconds of video in them")
        self._work = {name: Counter(f"liser_stage_{name}", text, ("stage",)) for name, text in _COUNTERS.items()}
        self._gauges = [Gauge(name, text, ("stage",)) for name, text in _GAUGES.items()]

    def look(self, elapsed_s: float) -> tuple[int, str]:
        """Spans done in this run, and a line about it; for `LiveDisplay`."""
        counts = self._read()
        self._export(self._recent[-1][1], counts)
        self._recent.append((elapsed_s, counts))
        while len(self._recent) > 2 and self._recent[1][0] <= elapsed_s - _RECENT_S:
            self._recent.popleft()
        waiting, busy = self._waiting(counts), self.busy_shares()
        for stage, pool in self._pools.items():
            for gauge, value in zip(self._gauges, (busy[stage], waiting[stage], pool.actors), strict=True):
                gauge.set(value, {"stage": stage})
        self._keep(elapsed_s, counts)
        if not (counts.work or counts.spans):
            return counts.spans, "the workers are starting"
        rates = f"{counts.spans / elapsed_s:.2g} spans/s · {counts.video_s / elapsed_s:.2g} video-h/h"
        slowest = self.bottleneck()
        return counts.spans, f"{rates} · {describe(counts.outcomes)}" + (f" · bottleneck: {slowest}" if slowest else "")

    def stage_lines(self) -> list[str]:
        """A line for each stage: workers, busy share, speed and what waits for it."""
        counts, (recent, seconds) = self._recent[-1][1], self._recent_work()
        waiting, busy, slowest = self._waiting(counts), self.busy_shares(), self.bottleneck()
        lines = []
        for stage, pool in self._pools.items():
            workers = f"{pool.actors:>4} {'workers' if pool.actors > 1 else 'worker '}"
            lines.append(
                f"  {stage:<15}{workers} · {busy[stage]:>4.0%} busy · {recent[stage].spans / seconds:.2g} spans/s · "
                f"{waiting[stage]:,} waiting{counts.work.get(stage, Work()).fill}"
                + ("  <- bottleneck" if stage == slowest else "")
            )
        return lines

    def busy_shares(self) -> dict[str, float]:
        """Share of the last half minute (about) in which a stage's workers worked, 0 to 1.

        Work counts when it is done, so a long piece may count for more than the half minute it ended in; no share is
        more than 1.
        """
        recent, seconds = self._recent_work()
        return {stage: min(1.0, recent[stage].busy_s / (pool.actors * seconds)) for stage, pool in self._pools.items()}

    def bottleneck(self) -> str | None:
        """The stage that is busiest; None while none is busy for half of the time (start-up, waiting for the store)."""
        shares = self.busy_shares()
        slowest = max(shares, key=lambda stage: shares[stage])
        return slowest if shares[slowest] >= _HOLDS_UP else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._record.finished = kind is None
        self._write()

    def _recent_work(self) -> tuple[dict[str, Work], float]:
        """What each stage did in the last half minute (about), and how many seconds that was."""
        (then_s, then), (now_s, now) = self._recent[0], self._recent[-1]
        recent = {stage: now.work.get(stage, Work()) - then.work.get(stage, Work()) for stage in self._pools}
        return recent, max(1e-9, now_s - then_s)

    def _waiting(self, counts: Counts) -> dict[str, int]:
        """Spans that the stage before has passed on and a stage has not done; what waits for the first is the plan."""
        waiting, passed_on = {}, counts.work.get(Stage.MEDIA, Work()).spans
        for stage in self._pools:
            work = counts.work.get(stage, Work())
            waiting[stage] = max(0, passed_on - work.spans)
            passed_on = work.spans - work.ended
        return waiting

    def _export(self, before: Counts, now: Counts) -> None:
        """Add to the metrics what has been done since the last look."""
        for (status, reason), rows in now.outcomes.items():
            _increase(self._spans, rows - before.outcomes.get((status, reason), 0), status=status, reason=reason)
        _increase(self._video_s, now.video_s - before.video_s)
        for stage, work in now.work.items():
            for name, counter in self._work.items():
                _increase(counter, getattr(work - before.work.get(stage, Work()), name), stage=stage)

    def _keep(self, elapsed_s: float, counts: Counts) -> None:
        """Bring the record up to date; write it every half minute, in a long run less often."""
        record = self._record
        cpus, gpus = cluster_size()
        passed_s = elapsed_s - record.seconds
        record.cpu_seconds += cpus * passed_s
        record.gpu_seconds += gpus * passed_s
        record.seconds = elapsed_s
        record.cluster = {"CPU": cpus, "GPU": gpus}
        for stage, pool in self._pools.items():
            held = {"actors": pool.actors, "num_cpus": pool.num_cpus, "num_gpus": pool.num_gpus}
            record.stages[stage] = held | asdict(counts.work.get(stage, Work()))
        sample = (round(elapsed_s, 1), counts.spans, round(counts.video_s, 3))
        if elapsed_s < self._next_sample_s:
            record.samples[-1] = sample
            return
        if len(record.samples) >= _MAX_SAMPLES:
            record.samples = record.samples[1::2]
            self._sample_every_s *= 2
        self._next_sample_s = elapsed_s + self._sample_every_s
        record.samples.append(sample)
        self._write()

    def _write(self) -> None:
        try:
            write_bytes(self._uri, json.dumps(asdict(self._record)).encode() + b"\n")
        except OSError as error:  # the job itself goes on, and so do what is shown and the next record
            log.warning("The record of this run can't be written to %s: %s", self._uri, error)


def _increase(counter: Counter, by: float, **tags: str) -> None:
    if by > 0:  # Ray refuses 0
        counter.inc(by, tags)
