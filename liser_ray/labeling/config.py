"""Every setting of the labeling job, and how many workers fit a cluster."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from liser_ray.corpora.config import PlanConfig
from liser_ray.media.outcome import Stage
from liser_ray.media.span import MediaConfig, Needs
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import TeacherEntry, read_teachers
from liser_ray.training.precision import Precision

TRANSCRIPTS = "transcripts"
"""The pool of the recogniser, in which there is no teacher."""

GPU_SHARES: dict[str, float] = {"clips": 4.0, "sound": 1.0, TRANSCRIPTS: 1.0, "text": 1.0}
"""How the pools on a GPU share it: with clips and sound 0.8 and 0.2, as S2D needs 90 times the arithmetic of HuBERT.

In the order of the pipeline: clips are large, and are dropped as soon as may be; who takes text needs transcripts.
"""

CPU_SPANS, GPU_SPANS = 2, 4
"""Spans that an actor without a GPU or with one takes at a time. On a CPU S2D needs a minute for one: more than the
media stage hands over together would be counted late, and be lost with the process; fewer, Ray would copy. Of spans
shorter than the usual 16 s it takes more in proportion: else most work would be Ray's own, and a GPU's batches nearly
empty."""

_USUAL_SPAN_S = PlanConfig().span_seconds
_BATCHES_PER_DECODER = 4  # at least, so that all have work to the end

_MAX_COLUMN_BYTES = 2**31 - 1  # Arrow's binary columns have offsets of 32 bits
_MOST_SOUND_BYTES_PER_S = 2 * 16_000 * 1.01  # 16 kHz, 16 bit, and FLAC's frames around it


@dataclass(frozen=True)
class PoolConfig:
    """A pool of actors for one stage.

    Attributes:
        actors: how many; 0: as many as fit the cluster when the job starts.
        num_cpus: CPUs that each holds; -1: fitted to the cluster.
        num_gpus: GPUs (fractions too) that each holds; -1: a share of one where the cluster has any and not all
            of the teachers compute on the CPU, else 0.
        batch_spans: spans that an actor takes at a time; 0: 4 for a teacher with a GPU, else 2; more of short ones.
    """

    actors: int = 0
    num_cpus: float = -1.0
    num_gpus: float = -1.0
    batch_spans: int = 0

    def __post_init__(self) -> None:
        if self.actors < 0 or self.batch_spans < 0:
            raise UserError("A pool needs actors >= 0 (0: fitted to the cluster) and batch_spans >= 0 (0: fitted).")

    def __str__(self) -> str:
        held = f"{self.num_cpus:.3g} CPU" + (f" + {self.num_gpus:.3g} GPU" if self.num_gpus else "")
        return f"{self.actors} x {held}"


@dataclass(frozen=True)
class Prices:
    """What machines cost, for the cost per 1,000 hours of video in run.json.

    Attributes:
        cpu_hour: price of one CPU for an hour; 0: not known.
        gpu_hour: price of one GPU for an hour, without the CPUs of its machine; 0: not known.
        currency: of the prices.
    """

    cpu_hour: float = 0.0
    gpu_hour: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        if self.cpu_hour < 0 or self.gpu_hour < 0:
            raise UserError("--prices.cpu_hour and --prices.gpu_hour must be 0 (not known) or more.")


@dataclass(frozen=True)
class MeasureConfig:
    """Run the job on a sample of the input and size its pools, in place of labeling.

    Attributes:
        seconds: about how long, when all workers are up; 0: no, label. ``--measure`` alone is 60.
        cpus: CPUs that Ray counts with in the cluster to size for, all nodes together; 0: the cluster as it is now.
        gpus: its GPUs, with cpus.
        nodes: its nodes, with cpus; without: so many nodes like those of the cluster as it is now.
    """

    seconds: float = 0.0
    cpus: float = 0.0
    gpus: int = 0
    nodes: int = 0

    def __post_init__(self) -> None:
        if min(self.seconds, self.cpus, self.gpus, self.nodes) < 0:
            raise UserError("--measure.seconds, cpus, gpus and nodes must be 0 (as the cluster has them) or more.")
        if self.gpus and not self.cpus:
            raise UserError(
                "--measure.gpus needs --measure.cpus: how many CPUs the cluster has beside its GPUs. What --measure "
                "prints says how many one GPU asks for."
            )
        if self.cpus + self.nodes and not self.seconds:
            raise UserError("--measure.cpus and --measure.nodes need --measure, which says that nothing is labeled.")


@dataclass(frozen=True)
class LabelConfig:
    """Label recordings of people talking with teachers, into a Parquet table.

    Attributes:
        input: folder, s3://bucket/prefix, one recording, a Parquet/CSV manifest with a uri column, ravdess:FOLDER and
            the like, or mspface:FOLDER with the lists of MSP-Face. Empty: the generated demo corpus with its small
            teachers.
        output: folder or s3:// prefix for plan/, labels/, checkpoint/, runs/, run.json and report.html. The same
            command goes on where it was.
        teachers: each as NAME=KIND:ADDRESS, such as face=s2d:s2d.pth,landmarks.pth or speech=speech:out/teachers/fold-*
            (a pattern gives speech_fold_0 and so on), speech=speech:hubert-base-superb (a name of published weights),
            or in a file by name, with all settings of its kind. Kinds are, of faces: s2d, face, action_units,
            face_motion and speaks; of sound: speech, prosody, energy and student; of text: words; see docs/label.md.
            Sound alone is decoded where no teacher looks at faces.
        require: names of the teachers without which a span does not count as labeled; none given: all. A face that is
            not required may be missing.
        transcribe: a speech recogniser of Transformers, such as hf://openai/whisper-tiny.en, that writes down what is
            said in spans whose transcript is not known; a path, s3:// or hf:// address. Teachers of text (words) need
            transcripts: from it, from a list's column text, or in the labels table that is the input.
        media_folder: folder or prefix that the files of a list are in, the only ones that are then read; empty: they
            are where the list says, from its own folder.
        plan: how recordings are probed and cut into spans.
        media: faces, voice activity and limits.
        media_pool: CPU workers that decode and find faces.
        teacher_pools: workers of teachers. Those that take face clips share the pool "clips", those of sound the pool
            "sound", those of text "text"; one whose own name is given here has a pool of its own. The recogniser's is
            called "transcripts".
        trust_remote_code: run the code that speech teachers of a hub bring along. It may do anything that you may: read
            it first. Models that need none run without.
        precision: arithmetic of the teachers. A CPU has instructions for bfloat16 (AVX512_BF16, AMX) or uses float32.
        spans_per_file: rows per Parquet file; 0: up to 768 (about 200 MB), less for a small job so that an
            interruption costs little.
        prices: of machines, for the cost in run.json.
        dry_run: plan, print hours, spans and expected size, and stop. The job then uses this plan.
        measure: how fast a cluster is, and which pools fit it.
        extend: label also what has come into the input since it was planned.
        retry_failed: run failed spans of a finished or interrupted job again: "transient" those with reasons that may
            pass (timeouts, broken reads ...), "all" every one.
        contact_sheet: how many faces of labeled spans report.html shows, drawn at random; it then shows people. 0:
            none.
        part: K/N, such as 3/92: label the K-th of every N parts of the plan alone, while other clusters label the
            others into the same output; empty: all parts, one after the other. The plan is made before, by dry_run.
    """

    input: str = ""
    output: str = "out/demo"
    teachers: list[str] | dict[str, Any] = field(default_factory=list)
    require: list[str] | None = None
    transcribe: str = ""
    media_folder: str = ""
    plan: PlanConfig = field(default_factory=PlanConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    media_pool: PoolConfig = field(default_factory=PoolConfig)
    teacher_pools: dict[str, PoolConfig] = field(default_factory=dict)
    trust_remote_code: bool = False
    precision: Precision = "bfloat16"
    spans_per_file: int = 0
    prices: Prices = field(default_factory=Prices)
    dry_run: bool = False
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    extend: bool = False
    retry_failed: Literal["no", "transient", "all"] = "no"
    contact_sheet: int = 0
    part: str = ""

    def __post_init__(self) -> None:
        if self.part and not (re.fullmatch(r"\d+/\d+", self.part) and 1 <= self.share[0] <= self.share[1]):
            raise UserError(f"part is {self.part!r}: give K/N with K from 1 to N, such as 3/92.")
        if self.part and (self.extend or self.retry_failed != "no"):
            raise UserError(
                "--extend and --retry_failed change all parts: give them without --part, while no cluster is at work. "
                "With --extend --dry_run the plan grows and nothing is labeled; then start the parts."
            )
        if self.spans_per_file < 0:
            raise UserError(f"spans_per_file is {self.spans_per_file}: give 0 (fitted to the job) or more.")
        if self.spans_per_file > _most_spans(self):
            raise UserError(
                f"spans_per_file is {self.spans_per_file}: the sound of so many spans of {self.plan.span_seconds:g} s "
                f"may be more than the 2 GiB that a column of a file can hold. Give at most {_most_spans(self)}."
            )
        _check_faces(self.contact_sheet)
        names = {entry.name for entry in self.entries}
        if taken := sorted(names & {*GPU_SHARES, *Stage}):
            raise UserError(f"A teacher can't be called {taken[0]}, which is the name of a stage: give it another one.")
        if unknown := sorted(({*self.required} - names) | ({*self.teacher_pools} - names - {*GPU_SHARES})):
            raise UserError(f"There is no teacher {unknown[0]!r}: --teachers has {', '.join(sorted(names)) or 'none'}.")

    @property
    def share(self) -> tuple[int, int]:
        """K and N: the K-th of every N parts is labeled."""
        number, of = (self.part or "1/1").split("/")
        return int(number), int(of)

    @cached_property
    def entries(self) -> tuple[TeacherEntry, ...]:
        """The teachers in the order of the pipeline, as `GPU_SHARES` has it.

        Of those of clips first the one that says in which windows the face speaks: others are not asked about the rest.
        """
        teachers = read_teachers(self.teachers, self.trust_remote_code)
        return tuple(sorted(teachers, key=lambda entry: ([*GPU_SHARES].index(entry.takes), entry.kind != "speaks")))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the teachers without which a span does not count as labeled."""
        return tuple(entry.name for entry in self.entries) if self.require is None else tuple(self.require)

    @property
    def needs(self) -> Needs:
        """What of a span goes to these teachers."""
        takes = {entry.takes for entry in self.entries}
        required = {entry.takes for entry in self.entries if entry.name in self.required}
        return Needs(clips="clips" in takes, face="clips" in required, speech="sound" in required)

    @property
    def teacher_groups(self) -> dict[str, list[TeacherEntry]]:
        """The teachers of each pool, in the order of the pipeline; the recogniser's has none."""
        groups: dict[str, list[TeacherEntry]] = {}
        for takes in GPU_SHARES:
            if takes == TRANSCRIPTS and self.transcribe:
                groups[TRANSCRIPTS] = []
            for entry in self.entries:
                if entry.takes == takes:
                    groups.setdefault(entry.name if entry.name in self.teacher_pools else takes, []).append(entry)
        return groups

    @property
    def clips_pools(self) -> tuple[str, ...]:
        """The pools that face clips go to."""
        groups = self.teacher_groups.items()
        return tuple(name for name, entries in groups if any(one.takes == "clips" for one in entries))


@dataclass(frozen=True)
class ReportConfig:
    """Write the page on what a labeling job has labeled so far.

    Attributes:
        output: the --output of label_corpus.py: a folder or s3:// prefix.
        contact_sheet: how many faces of labeled spans to show, drawn at random; the page then shows people. 0: none.
    """

    output: str = "out/demo"
    contact_sheet: int = 0

    def __post_init__(self) -> None:
        _check_faces(self.contact_sheet)


@dataclass(frozen=True)
class Pools:
    """The pools of the job as they are started: no value is left open.

    Attributes:
        media: of the media stage.
        teachers: by name, in the order of the pipeline.
    """

    media: PoolConfig
    teachers: dict[str, PoolConfig]

    @property
    def by_stage(self) -> dict[str, PoolConfig]:
        """All, in the order of the pipeline."""
        return {str(Stage.MEDIA): self.media, **self.teachers}

    def __str__(self) -> str:
        return "Workers: " + " · ".join(f"{stage} {pool}" for stage, pool in self.by_stage.items())


def fit_pools(
    config: LabelConfig,
    cluster_cpus: float,
    cluster_gpus: float,
    nodes: int = 1,
    spans: int = 1,
    seconds: float = _USUAL_SPAN_S,
) -> Pools:
    """Fill the pools' open values so that they fit a cluster together, with room for Ray's own tasks.

    So many spans are to be labeled, which are so many seconds together.

    With GPUs, each one serves an actor of every pool, except of those whose teachers compute on the CPU. All CPUs that
    the teachers leave go to decoding. Without GPUs each node has an actor of every pool. They use every core for a
    moment and hold a fraction of one, and there is a decoder for each core: with one less a core would idle whenever a
    teacher waits for clips.

    Raises:
        UserError: values are open and the cluster has no CPU: its workers come when there is work, and nobody knows yet
            how many; or the pools that have a fitted share ask for more GPUs, with all others, than there are.
    """
    given = {name: config.teacher_pools.get(name, PoolConfig()) for name in config.teacher_groups}
    if not cluster_cpus and (
        any(not pool.actors or pool.num_cpus < 0 for pool in (config.media_pool, *given.values()))
        or any(pool.num_gpus < 0 for pool in given.values())
    ):
        raise UserError(
            "The cluster has no workers yet, so the pools can't be fitted to it. Size them for what it will grow to, "
            "as configs/cluster/label.yaml does: actors and num_cpus of media_pool, actors, num_cpus and num_gpus of "
            f"{' and '.join(f'teacher_pools.{name}' for name in given)}."
        )
    from liser_ray.runtime.cluster import CPUS_FOR_RAY  # Ray, which settings need not wait for

    spare = max(0.0, cluster_cpus - max(CPUS_FOR_RAY, nodes))
    n_gpus = int(cluster_gpus)
    teacher_actors = n_gpus or max(1, nodes)
    teacher_cpus = min(1.0, spare / (max(4, len(given)) * teacher_actors))  # never all: Ray's own steps want whole ones
    shares = _gpu_shares(config.teacher_groups) if n_gpus else {}

    def teacher(name: str, pool: PoolConfig) -> PoolConfig:
        num_gpus = pool.num_gpus if pool.num_gpus >= 0 else shares.get(name, 0.0)
        # Its GPU says where it runs: of a node whose last CPU a decoder has taken, it could not have the GPU.
        held = 0.0 if num_gpus else teacher_cpus
        num_cpus = pool.num_cpus if pool.num_cpus >= 0 else held
        return replace(pool, actors=pool.actors or teacher_actors, num_cpus=num_cpus, num_gpus=num_gpus)

    teachers = {name: teacher(name, pool) for name, pool in given.items()}
    used = (
        one.actors * (one.num_cpus if given[name].num_cpus >= 0 else teacher_cpus) for name, one in teachers.items()
    )
    left = max(0.0, spare - sum(used))
    each = config.media_pool.num_cpus
    fitting = left / each + 1e-9 if each > 0 else left if n_gpus else spare
    actors = config.media_pool.actors or max(1, int(fitting))
    media = replace(
        config.media_pool,
        actors=actors,
        num_cpus=each if each >= 0 else min(1.0, left / actors),
        num_gpus=max(0.0, config.media_pool.num_gpus),
    )
    asked = sum(one.actors * one.num_gpus for one in (media, *teachers.values()))
    if asked > n_gpus + 1e-6 and any(given[name].num_gpus < 0 for name in shares):
        raise UserError(
            f"The pools ask for {asked:.3g} GPUs and the cluster has {n_gpus}, so some would never start: give "
            f"num_gpus of {' and '.join(f'teacher_pools.{name}' for name in shares)}."
        )
    in_a_usual_one = round(_USUAL_SPAN_S * spans / seconds) if seconds else 1
    times = max(1, min(in_a_usual_one, spans // (CPU_SPANS * _BATCHES_PER_DECODER * actors)))

    def in_batches(pool: PoolConfig, fitted: int) -> PoolConfig:
        return replace(pool, batch_spans=pool.batch_spans or fitted * times)

    return Pools(
        in_batches(media, CPU_SPANS),
        {name: in_batches(pool, GPU_SPANS if pool.num_gpus else CPU_SPANS) for name, pool in teachers.items()},
    )


def _gpu_shares(groups: Mapping[str, Sequence[TeacherEntry]]) -> dict[str, float]:
    """Of each GPU, by pool that has a use for it."""
    weights = {
        name: GPU_SHARES[entries[0].takes if entries else TRANSCRIPTS]
        for name, entries in groups.items()
        if not entries or not all(one.on_cpu for one in entries)
    }
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def spans_per_file(config: LabelConfig, spans: int) -> int:
    """Rows per Parquet file: 768 of 16 s are about 220 MB; a small job still commits in about 32 steps."""
    return config.spans_per_file or min(768, max(1, spans // 32), _most_spans(config))


def _check_faces(contact_sheet: int) -> None:
    if contact_sheet < 0:
        raise UserError(f"contact_sheet is {contact_sheet}: give 0 (no faces) or more.")


def _most_spans(config: LabelConfig) -> int:
    """How many spans' sound a file can hold, even if it is noise, which FLAC can't make smaller."""
    return max(1, int(_MAX_COLUMN_BYTES / (config.plan.span_seconds * _MOST_SOUND_BYTES_PER_S)))
