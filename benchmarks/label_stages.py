"""Seconds of video labeled per second and CPU core, stage by stage, beside the naive way (`naive_way.py`).

Run with the real recordings (LISER_TEST_DATA) and YuNet's weights (DEEPFACE_HOME, by default weights/ beside them):
`python benchmarks/label_stages.py`. Prints the table and writes benchmarks/results/label_stages.md; `--quick` tries the
script out in half a minute, with two recordings and teachers of one layer, and writes nothing.

Both ways run in one process, on one thread, by turns on each recording, so that a machine that slows down slows both;
the media stage three times, of which the quickest counts: other work on the machine only ever adds.
"""

import argparse
import copy
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries below are imported

import av
import cv2
import naive_way
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from machine import (
    add_writing,
    describe,
    find_weights,
    markdown,
    results_folder,
    shown,
    videos,
    write_json,
    write_whole,
)
from transformers import HubertConfig, HubertForSequenceClassification

from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.schema import empty_column, labels_schema, list_column, target_type
from liser_ray.media import flac, span
from liser_ray.media.detector import Face, FaceDetector, check_detector
from liser_ray.media.faces import FaceConfig, find_faces
from liser_ray.media.frame import SampledFrame
from liser_ray.media.reader import Reader
from liser_ray.media.speech import speech_stretches
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.teachers.batches import as_rgb
from liser_ray.teachers.clips import CLIP_S, CPU_BATCH
from liser_ray.teachers.kinds.speech import WINDOW_S, Options
from liser_ray.teachers.mobilefacenet import new_mobilefacenet
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS, s2d_teacher
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import RawSound
from liser_ray.teachers.speech_models import SpeechModel
from liser_ray.teachers.targets import Target
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.precision import able_precision

OURS, NAIVE = "ours", "naive"
SPEECH_LABELS = ("neutral", "happy", "sad", "angry")
VIDEO_BATCH, SPEECH_BATCH = CPU_BATCH, Options().batch_size
PRECISION = LabelConfig().precision
ROW_REPEATS = 20  # writing the rows takes milliseconds

DECODE, DETECT, FOLLOW, FACES, VAD, PACK = "decode", "detect", "follow", "faces", "voice activity", "pack"
MEDIA, VIDEO, SPEECH, ROWS = "media", "video teacher", "speech teacher", "rows"
WHAT = {
    DECODE: "decode pictures and sound",
    DETECT: "face detection (YuNet)",
    FOLLOW: "cuts, tracks, crops",
    FACES: "faces as a whole",
    VAD: "voice activity (Silero)",
    PACK: "FLAC and content hash",
    MEDIA: "**media stage as a whole**",
    VIDEO: "**video teacher** (S2D)",
    SPEECH: "**speech teacher** (HuBERT base)",
    ROWS: "rows as Parquet",
}


Picture = TypeVar("Picture", SampledFrame, np.ndarray)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seconds: float
    recordings: int | None
    rounds: int
    video_windows: int
    speech_windows: int
    layers: int


FULL = Size(seconds=4.0, recordings=None, rounds=3, video_windows=8, speech_windows=3 * SPEECH_BATCH, layers=12)
QUICK = Size(seconds=1.0, recordings=2, rounds=1, video_windows=2, speech_windows=4, layers=1)


class Costs:
    """CPU and wall seconds by stage and way, and the seconds of video that they were spent on."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))
        self._video_s: dict[tuple[str, str], float] = defaultdict(float)

    def add(self, stage: str, way: str, spent: np.ndarray, video_s: float) -> None:
        self._spent[stage, way] += spent
        self._video_s[stage, way] += video_s

    def add_quickest(self, rounds: Sequence["Costs"]) -> None:
        """Of rounds over the same video, for each stage and way the one with the least CPU time."""
        for (stage, way), video_s in rounds[0]._video_s.items():
            self.add(stage, way, min((one._spent[stage, way] for one in rounds), key=lambda spent: spent[0]), video_s)

    def per_video_s(self, stage: str, way: str) -> np.ndarray:
        """CPU and wall seconds for a second of video; zeros where the way has no such stage."""
        return self._spent[stage, way] / max(self._video_s[stage, way], 1e-9)


def now() -> np.ndarray:
    """CPU seconds of all threads, and wall seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def timed(pictures: Iterable[Picture], spent: np.ndarray) -> Iterator[Picture]:
    """The pictures; what each takes to come is added to `spent`, what the caller does between is not."""
    pictures = iter(pictures)
    while True:
        start = now()
        picture = next(pictures, None)
        spent += now() - start
        if picture is None:
            return
        yield picture


def our_media(path: Path, end_s: float, costs: Costs) -> span.SpanMedia:
    """The steps of `prepare_span` one by one, then all together as the job calls it."""
    decode, in_loop, detection = np.zeros(2), np.zeros(2), np.zeros(2)
    detector = FaceDetector(FaceConfig().detector)

    def detect(frame: SampledFrame) -> tuple[Face, ...]:
        start = now()
        try:
            return detector(frame)
        finally:
            detection[:] += now() - start

    start = now()
    with Reader(str(path)) as reader:
        stream = reader.span(0.0, end_s)
        decode += now() - start
        start = now()
        found = find_faces(timed(stream, in_loop), stream.n_cells, FaceConfig(), detect)
        faces = now() - start - in_loop
        start = now()
        pcm = stream.pcm()
        decode += now() - start + in_loop
    video_s = stream.n_cells / FRAME_RATE_HZ
    costs.add(DECODE, OURS, decode, video_s)
    costs.add(DETECT, OURS, detection, video_s)
    costs.add(FOLLOW, OURS, faces - detection, video_s)
    costs.add(FACES, OURS, faces, video_s)
    start = now()
    speech_stretches(pcm)
    costs.add(VAD, OURS, now() - start, video_s)
    start = now()
    flac.encode_flac(pcm)
    span.digest(pcm)
    span.digest(found.clips)
    costs.add(PACK, OURS, now() - start, video_s)

    start = now()
    media = span.prepare_span(str(path), 0.0, end_s, span.MediaConfig(), span.Needs())
    costs.add(MEDIA, OURS, now() - start, video_s)
    return media


def naive_media(path: Path, end_s: float, costs: Costs) -> int:
    """The same of the naive way; how many pictures there were."""
    decode = np.zeros(2)
    start = now()
    faces = [naive_way.largest_face(picture) for picture in timed(naive_way.pictures(path, end_s), decode)]
    in_faces = now() - start - decode
    start = now()
    pcm = naive_way.sound(path, end_s)
    decode += now() - start
    start = now()
    naive_way.speech_fraction(pcm)
    vad = now() - start
    video_s = round(end_s * FRAME_RATE_HZ) / FRAME_RATE_HZ
    for stage, spent in ((DECODE, decode), (FACES, in_faces), (VAD, vad), (MEDIA, decode + in_faces + vad)):
        costs.add(stage, NAIVE, spent, video_s)
    return len(faces)


def measure_media(paths: Sequence[Path], size: Size, costs: Costs) -> tuple[list[span.SpanMedia], int]:
    """Both ways by turns on the start of each recording; our results, and pictures seen.

    A round goes through all recordings, since `prepare_span` keeps the last one open: each is to be opened each time.
    """
    rounds: dict[Path, list[Costs]] = {path: [] for path in paths}
    prepared, n_pictures = {}, {}
    for path in size.rounds * list(paths):
        with Reader(str(path)) as reader:
            end_s = min(size.seconds, reader.header.duration_s or size.seconds)
        rounds[path].append(Costs())
        n_pictures[path] = naive_media(path, end_s, rounds[path][-1])
        prepared[path] = our_media(path, end_s, rounds[path][-1])
    for of_path in rounds.values():
        costs.add_quickest(of_path)
    return list(prepared.values()), sum(n_pictures.values())


def measure_video_teacher(packed: np.ndarray, layers: int, costs: Costs) -> tuple[Target, np.ndarray, float]:
    """Half the windows one by one, all of them our way, the other half; what it gives, and how far the ways differ."""
    clips = as_rgb(torch.from_numpy(packed)).numpy()
    torch.manual_seed(0)
    transformer, landmarks = VideoTransformer(S2DConfig(depth=layers)).eval(), new_mobilefacenet(seed=0)
    ours = copy.deepcopy(transformer), copy.deepcopy(landmarks)  # taken over, and converted
    teacher = s2d_teacher("face", *ours, FERV39K_LABELS, "", torch.device("cpu"), PRECISION, VIDEO_BATCH)
    alone = []
    naive_way.video_softmax(transformer, landmarks, clips[0])  # warm

    def one_by_one(some: np.ndarray) -> None:
        for clip in some:
            start = now()
            alone.append(naive_way.video_softmax(transformer, landmarks, clip))
            costs.add(VIDEO, NAIVE, now() - start, CLIP_S)

    one_by_one(clips[: len(clips) // 2])
    start = now()
    together = teacher(packed)["face"].values  # whose weights were lowered before the clock started, as in an actor
    costs.add(VIDEO, OURS, now() - start, len(clips) * CLIP_S)
    one_by_one(clips[len(clips) // 2 :])
    return teacher.targets[0], together, float(np.abs(together - alone).max())


def measure_speech_teacher(windows: np.ndarray, layers: int, costs: Costs) -> tuple[Target, np.ndarray, float]:
    """Batch by batch, each before or after the same windows one by one; as `measure_video_teacher`."""
    torch.manual_seed(0)
    model = HubertForSequenceClassification(
        HubertConfig(num_hidden_layers=layers, id2label=dict(enumerate(SPEECH_LABELS)))
    ).eval()
    speech = SpeechModel("speech", SPEECH_LABELS, "", model, RawSound(normalised=True))
    teacher = SpeechTeacher("speech", [speech], torch.device("cpu"), PRECISION, SPEECH_BATCH)
    naive_way.speech_softmax(model, windows[0])  # warm
    together, alone = [], []
    for i, first in enumerate(range(0, len(windows), SPEECH_BATCH)):
        batch = windows[first : first + SPEECH_BATCH]
        for way in (OURS, NAIVE) if i % 2 else (NAIVE, OURS):
            start = now()
            if way == OURS:
                together.append(teacher(batch)["speech"].values)
            else:
                alone += [naive_way.speech_softmax(model, window) for window in batch]
            costs.add(SPEECH, way, now() - start, len(batch) * WINDOW_S)
    softmaxes = np.concatenate(together)
    return teacher.targets[0], softmaxes, float(np.abs(softmaxes - alone).max())


def measure_rows(prepared: Sequence[span.SpanMedia], given: Sequence[tuple[Target, np.ndarray]], costs: Costs) -> None:
    """Each span's row with its sound and numbers, all in one Parquet file; what the teachers gave is repeated."""
    schema = labels_schema([target for target, _ in given])
    spans_s = [CLIP_S * len(media.clip_start_s) for media in prepared]

    def column(target: Target, values: np.ndarray) -> pa.StructArray:
        counts = [round(span_s / target.window_s) for span_s in spans_s]
        per_window = {
            "start_s": [np.arange(n) * target.hop_s for n in counts],
            "values": [np.resize(values, (n, len(target.labels))) for n in counts],
            "valid": [np.ones(n) for n in counts],
        }
        fields = list(target_type(target))
        return pa.StructArray.from_arrays(
            [list_column(per_window[one.name], one.type) for one in fields], fields=fields
        )

    def write() -> None:
        columns = {
            "audio": pa.array([media.audio for media in prepared], pa.binary()),
            "content_hash": pa.array([media.content_hash for media in prepared]),
            "face_box": list_column([media.face_box for media in prepared], schema.field("face_box").type),
            "targets": pa.StructArray.from_arrays(
                [column(*one) for one in given], fields=list(schema.field("targets").type)
            ),
        }
        arrays = [columns.get(one.name, empty_column(one.type, len(prepared))) for one in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), pa.BufferOutputStream(), compression="zstd")

    write()  # warm
    start = now()
    for _ in range(ROW_REPEATS):
        write()
    costs.add(ROWS, OURS, now() - start, ROW_REPEATS * sum(spans_s))


def by_stage(costs: Costs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CPU and wall seconds for a second of video, our way and the naive one, by the stages' names and for all."""
    both = {stage: (costs.per_video_s(stage, OURS), costs.per_video_s(stage, NAIVE)) for stage in WHAT}
    # The steps before it are in the media stage already.
    ours, naive = np.sum([both[stage] for stage in (MEDIA, VIDEO, SPEECH, ROWS)], axis=0)
    return {what: both[stage] for stage, what in WHAT.items()} | {"**everything**": (ours, naive)}


def figures(costs: Costs) -> dict[str, tuple[float, str]]:
    """The table for a program."""
    found = {}
    for what, ((ours, _), (naive, _)) in by_stage(costs).items():
        name = what.strip("*").replace("**", "")
        found[name] = float(1 / ours), "s of video per CPU-s"
        if naive:
            found[f"{name}, times the naive way"] = float(naive / ours), "1"
    return found


def table(costs: Costs) -> str:
    """One line per stage and one for all: what one core labels in a second, both ways."""
    head = [
        "stage",
        "ours: s of video per CPU-s",
        "naive",
        "ours / naive",
        "CPU ms per s of video: ours",
        "naive",
        "wall ms: ours",
        "naive",
    ]

    def line(what: str, ours: np.ndarray, naive: np.ndarray) -> list[str]:
        cpu, wall = 1000 * ours
        if not naive.any():
            return [what, shown(1000 / cpu), "–", "–", shown(cpu), "–", shown(wall), "–"]
        naive_cpu, naive_wall = 1000 * naive
        speeds = (1000 / cpu, 1000 / naive_cpu, naive_cpu / cpu)
        return [what, *(shown(value) for value in (*speeds, cpu, naive_cpu, wall, naive_wall))]

    lines = [line(what, *both) for what, both in by_stage(costs).items()]
    return markdown(head, lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, help=f"of each recording (default: {FULL.seconds:g})")
    add_writing(parser)
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    size = replace(size, seconds=options.seconds or size.seconds)
    paths = videos("talking_heads")[: size.recordings]
    find_weights()
    check_detector("yunet")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    costs = Costs()
    prepared, n_pictures = measure_media(paths, size, costs)
    usable = [media for media in prepared if media.problem is None]
    packed = np.concatenate([media.clips[media.clip_valid > 0] for media in usable])
    packed = packed[np.linspace(0, len(packed) - 1, size.video_windows).astype(int)]
    windows = np.concatenate([sound_windows(flac.decode_flac(media.audio), WINDOW_S, WINDOW_S)[0] for media in usable])
    windows = windows[: size.speech_windows]
    *speech, speech_differs = measure_speech_teacher(windows, size.layers, costs)
    *video, video_differs = measure_video_teacher(packed, size.layers, costs)
    measure_rows(prepared, [video, speech], costs)

    video_s = CLIP_S * sum(len(media.clip_start_s) for media in prepared)
    where = describe(
        ("torch", "transformers", "onnxruntime", "av", "deepface", "silero-vad"),
        "one of them used",
        f"OpenCV {cv2.__version__}",
        f"FFmpeg {av.ffmpeg_version_info}",
    )
    command = " ".join(["python benchmarks/label_stages.py", *arguments])
    text = f"""# Seconds of video labeled per second and CPU core

Made by `{command}`: the first {size.seconds:g} s of {len(paths)} real
talking heads ({video_s:.0f} s in whole windows, {n_pictures} pictures at their own rates, 256x256 to 1080x1920,
H.264, HEVC, MPEG-4 and MPEG-1), one process, one thread, both ways by turns on each recording.

{table(costs)}

Machine: {where}

- CPU time counts; other work on the machine shows in the wall time, and where processes share a core's units in the CPU
  time too. So each recording goes through both ways of the media stage {size.rounds} times, and of each stage and way
  the quickest counts.
- The naive way: `cv2.VideoCapture`, `DeepFace.extract_faces` (YuNet, aligned) on every frame, PyAV for the sound,
  Silero VAD through its library, teachers on one window at a time.
- Teachers have random weights of the full size, which cost what trained ones cost: S2D on {len(packed)} windows of
  16 frames at 30 Hz (0.53 s), in batches of {VIDEO_BATCH} (what the job does on a CPU) and one by one;
  HuBERT base on {len(windows)} windows of
  0.5 s, in batches of {SPEECH_BATCH} and one by one. Largest difference between the two ways' softmaxes:
  {video_differs:.0e} (S2D), {speech_differs:.0e} (HuBERT). Ours answers in
  {able_precision(torch.device("cpu"), PRECISION)} on this CPU, the naive way in float32.
- The media stage as a whole is a call of its own, not the sum of its steps. "Everything" is media stage, teachers and
  rows. Neither way includes Ray, child processes or a network.
"""
    print(text)
    if folder := results_folder(options):
        write_whole(folder / "label_stages.md", text)
        write_json(folder / "label_stages.json", command, where, figures(costs))


if __name__ == "__main__":
    main(sys.argv[1:])
