"""The same corpus labeled three ways, each a step for `process_tree.watch`: the job, a plain pool, the naive script.

The pool is what a careful person writes without Ray: a process per core, each with the teachers and our own functions,
a few spans at a time, a Parquet file for each. It has no checkpoint, no limit on what a broken video may cost, no
second machine; so it says what those cost.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import torch
import yaml
from machine import HUBERT_WEIGHTS, S2D_WEIGHTS
from process_tree import Done, progress_of

from liser_ray.corpora.plan import make_plan
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.finish import finish
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.progress import JobCounts, Work
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import check_settings
from liser_ray.labeling.schema import Outcomes, labels_schema
from liser_ray.labeling.teacher_stage import TeacherStage
from liser_ray.media.outcome import Stage
from liser_ray.runtime.display import Counting
from liser_ray.teachers.kinds import TeacherEntry
from liser_ray.teachers.targets import Target

_ASK_EVERY_S = 0.25
_LAST_COUNT_S = 20.0  # on a busy machine an answer takes its time
_CHUNK_SPANS = 2  # the job's media workers take as many
_SPEECH_LABELS = ("neutral", "happy", "sad", "angry")
# Of Ray's workers, so that other work on the machine takes as much from every way.
_NICENESS = int(os.environ.get("RAY_worker_niceness", "15"))  # noqa: SIM112 (Ray's name)


# --- teachers and settings


def import_all() -> tuple[list[Done], None]:
    """The ways' imports, compiled, so that the first way does not pay for them alone."""
    import naive_way  # noqa: F401

    from liser_ray.labeling import job  # noqa: F401

    return [], None


def small_teachers(folder: Path) -> dict[str, str]:
    """A classifier of the mean of each channel, and a HuBERT of two narrow layers: both cost little."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from small_teachers import make_speech_base, mean_colour_onnx
    from transformers import HubertForSequenceClassification

    folder.mkdir(parents=True)
    mean_colour_onnx(folder / "mean.onnx", ("N", 224, 224, 3), layout="nhwc")
    description = {"weights": "mean.onnx", "labels": ["red", "green", "blue"], "layout": "nhwc"}
    (folder / "mean.yaml").write_text(yaml.safe_dump(description))
    speech = make_speech_base(folder / "hubert", id2label=dict(enumerate(_SPEECH_LABELS)))
    HubertForSequenceClassification.from_pretrained(speech).save_pretrained(speech)  # with a head
    return {"face": f"face:{folder}/mean.yaml", "speech": f"speech:{speech}"}


def full_teachers(folder: Path) -> dict[str, str]:
    """S2D and HuBERT base: trained ones where the environment names them, else random ones, which cost the same."""
    from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor

    from liser_ray.teachers.mobilefacenet import new_mobilefacenet
    from liser_ray.teachers.s2d import S2DConfig, VideoTransformer, save_s2d
    from liser_ray.teachers.s2d_teacher import FERV39K_LABELS
    from liser_ray.teachers.weights import save_checkpoint

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_s2d(folder / "s2d.safetensors", VideoTransformer(S2DConfig()), FERV39K_LABELS)
    save_checkpoint(folder / "landmarks.safetensors", new_mobilefacenet(seed=0).state_dict())
    model = HubertForSequenceClassification(HubertConfig(id2label=dict(enumerate(_SPEECH_LABELS))))
    model.save_pretrained(folder / "hubert")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "hubert")
    random_s2d = f"{folder}/s2d.safetensors,{folder}/landmarks.safetensors"
    return {
        "face": f"s2d:{os.environ.get(S2D_WEIGHTS, random_s2d)}",
        "speech": f"speech:{os.environ.get(HUBERT_WEIGHTS, f'{folder}/hubert')}",
    }


# --- the job


def run_job(config: LabelConfig) -> tuple[list[Done], dict[str, Any]]:
    """`label_corpus` as jobs/label_corpus.py calls it; gives what Ray spilled, how spans ended, seconds by stage.

    A span is finished when it has passed the last stage; the file with its row follows. The count is asked for often.
    """
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    from liser_ray.labeling import job

    os.environ["RAY_ADDRESS"] = "local"
    done: list[Done] = []
    with mock.patch.object(job, "JobCounts", side_effect=lambda: _asked(JobCounts(), done)):
        result = job.label_corpus(config)
        given_up = time.monotonic() + _LAST_COUNT_S
        while (not done or done[-1].spans < result.plan.spans) and time.monotonic() < given_up:
            time.sleep(_ASK_EVERY_S)
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    store = get_memory_info_reply(state).store_stats
    (record,) = job.load_runs(result.folders.runs)
    value = {
        "outcomes": {f"{status}:{reason}": n for (status, reason), n in result.outcomes.items()},
        "spilled": int(store.spilled_bytes_total),
        "busy_s": {stage: work["busy_s"] for stage, work in record.stages.items()},
        "workers": {stage: int(work["actors"]) for stage, work in record.stages.items()},
    }
    ray.shutdown()
    return _complete(done, result.plan.spans, result.plan.to_label_s), value


def _asked(progress: JobCounts, done: list[Done]) -> JobCounts:
    """The count, which a thread asks from now on."""
    import ray

    def ask() -> None:
        while ray.is_initialized():
            try:
                counts = progress.read()
            except Exception:  # the job is over, and the count with it
                return
            if counts.spans > (done[-1].spans if done else 0):
                done.append(Done(time.time(), counts.spans, counts.video_s))
            time.sleep(_ASK_EVERY_S)

    threading.Thread(target=ask, daemon=True).start()
    return progress


def _complete(done: Sequence[Done], spans: int, video_s: float) -> list[Done]:
    """Refuse progress that does not end with every span."""
    if not done or done[-1].spans != spans or abs(done[-1].video_s - video_s) > 0.01 * max(1.0, video_s):
        raise RuntimeError(f"{spans} spans of {video_s:.1f} s were planned, but counted: {done[-1:]}")
    return list(done)


# --- the plain pool


def run_pool(config: LabelConfig, cores: int, media_only: bool = False) -> tuple[list[Done], dict[str, Any]]:
    """Every span in a plain pool; `media_only` leaves out teachers and rows: what the slowest stage can do alone.

    A span is finished when the file with its row is written. Gives how spans ended and the workers' seconds by stage.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    plan = make_plan(config.input, config.output, config.plan)
    folders = OutputFolders(config.output)
    Path(folders.labels).mkdir()
    spans = (
        pads.dataset(folders.plan, format="parquet")
        .to_table()
        .sort_by([("uri", "ascending"), ("start_s", "ascending")])
    )
    chunks = [(k, spans.slice(k, _CHUNK_SPANS)) for k in range(0, len(spans), _CHUNK_SPANS)]
    finished: list[tuple[float, int, float]] = []
    outcomes: dict[str, int] = {}
    busy_s: dict[str, float] = {}
    targets = check_settings(config)
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores, _load, (config, targets, media_only)) as pool, Counting("spans", len(spans)) as counting:
        for at, ended, seconds, busy in pool.imap_unordered(_label, chunks):
            finished.append((at, sum(ended.values()), seconds))
            for name, n in ended.items():
                outcomes[name] = outcomes.get(name, 0) + n
            for stage, spent_s in busy.items():
                busy_s[stage] = busy_s.get(stage, 0.0) + spent_s
            counting.advance(sum(ended.values()))
    return _complete(progress_of(finished), plan.spans, plan.to_label_s), {"outcomes": outcomes, "busy_s": busy_s}


class _Here:
    """Stands in for the sandbox of a media worker: calls in this process, without limits."""

    def call(self, function: Callable[..., Any], *arguments: object, timeout_s: float) -> Any:  # noqa: ANN401
        return function(*arguments)


class _Labeler:
    """A worker of the pool: the job's own stages, one after the other, in one process; or the media stage alone."""

    def __init__(self, config: LabelConfig, targets: Sequence[Target], media_only: bool):
        self._busy_s: dict[str, float] = {}
        self._folder = OutputFolders(config.output).labels
        self._schema = labels_schema(targets)
        self._teachers = [
            TeacherStage(entries, config.required, config.precision, count=self._count(name))
            for name, entries in ({} if media_only else config.teacher_groups).items()
        ]
        with mock.patch("liser_ray.labeling.media_stage.Sandbox", return_value=_Here()):
            self._media = MediaStage(self._schema, self._count(Stage.MEDIA), config.media, config.needs)
        torch.set_num_threads(1)  # the stages take all cores

    def _count(self, stage: str) -> Callable[[Work], None]:
        def add(work: Work) -> None:
            self._busy_s[stage] = self._busy_s.get(stage, 0.0) + work.busy_s

        return add

    def __call__(self, number: int, spans: pa.Table) -> tuple[float, dict[str, int], float, dict[str, float]]:
        """When it was done, how many rows ended how, their seconds of video, seconds by stage."""
        self._busy_s = {}
        ended: Counter[str] = Counter()
        seconds: list[float] = []

        def count(outcomes: Outcomes, video_s: float) -> None:
            ended.update({f"{status}:{reason}": n for (status, reason), n in outcomes.items()})
            seconds.append(video_s)

        rows = []
        for span in self._media(spans):
            for teacher in self._teachers:
                span = teacher(span)
            rows.append(finish(span, self._schema.names, count))
        if self._teachers:
            pq.write_table(pa.concat_tables(rows), f"{self._folder}/{number:08}.parquet", compression="zstd")
        return time.time(), ended, sum(seconds), self._busy_s


_labeler: _Labeler | None = None


def _load(config: LabelConfig, targets: Sequence[Target], media_only: bool) -> None:
    global _labeler
    import cv2

    cv2.setNumThreads(1)
    os.nice(_NICENESS)
    _labeler = _Labeler(config, targets, media_only)


def _label(chunk: tuple[int, pa.Table]) -> tuple[float, dict[str, int], float, dict[str, float]]:
    assert _labeler
    return _labeler(*chunk)


# --- the naive script


def run_naive(config: LabelConfig, paths: Sequence[Path], seconds: float) -> tuple[list[Done], dict[str, Any]]:
    """The start of each recording by `naive_way`, one process with the libraries' own numbers of threads.

    A recording is finished when all its windows have their softmaxes; its row is a dictionary. Windows of the video
    teacher are 16 of the recording's own pictures.
    """
    import naive_way
    from transformers import HubertForSequenceClassification

    from liser_ray.media.audio import SAMPLE_RATE_HZ
    from liser_ray.media.reader import Reader
    from liser_ray.teachers.kinds.speech import WINDOW_S
    from liser_ray.teachers.windows import sound_windows

    os.nice(_NICENESS)
    face, speech = config.entries
    video = _naive_video(face)
    hubert = HubertForSequenceClassification.from_pretrained(speech.options.weights).eval()
    done: list[Done] = []
    video_s = 0.0
    for path in paths:
        with Reader(str(path)) as reader:
            end_s = min(seconds, reader.header.duration_s or seconds)
        faces = [
            (255 * naive_way.largest_face(picture)).astype(np.uint8) for picture in naive_way.pictures(path, end_s)
        ]
        for first in range(0, len(faces) - 15, 16):
            video(np.stack(faces[first : first + 16]))
        pcm = naive_way.sound(path, end_s)[: round(end_s * SAMPLE_RATE_HZ)]
        naive_way.speech_fraction(pcm)
        for window in sound_windows(pcm, WINDOW_S, WINDOW_S)[0]:
            naive_way.speech_softmax(hubert, window)
        video_s += end_s
        done.append(Done(time.time(), len(done) + 1, video_s))
    return done, {}


def _naive_video(face: TeacherEntry) -> Callable[[np.ndarray], object]:
    """A video teacher on one clip; S2D without autocast."""
    import naive_way

    from liser_ray.teachers.mobilefacenet import new_mobilefacenet
    from liser_ray.teachers.s2d import load_s2d
    from liser_ray.teachers.weights import read_checkpoint

    if face.kind == "face":
        teacher = face.load(torch.device("cpu"))
        return lambda clip: teacher(clip[None])
    transformer, landmarks = load_s2d(read_checkpoint(Path(face.options.weights))).eval(), new_mobilefacenet(seed=0)
    return lambda clip: naive_way.video_softmax(transformer, landmarks, clip)
