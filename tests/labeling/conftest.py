"""A corpus with every kind of trouble, and small teachers."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labeling.tables import Row, rows_of
from media_files import moving_gradient, write_video
from small_teachers import SmallTeachers, make_teachers
from talking_heads import portrait_at, voice, write_talking_head

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig, PoolConfig
from liser_ray.labeling.job import JobResult, label_corpus
from liser_ray.media.faces import FaceConfig
from liser_ray.media.span import MediaConfig

SPAN_SECONDS = 3.2  # 6 windows of 16 frames

# file to (status, stage, reason) of each of its rows
EXPECTED = {
    "anna.mp4": [("labeled", "", "")] * 3,  # 8 s
    "ben.mp4": [("labeled", "", "")],
    "broken_middle.mp4": [("labeled", "", "")] * 3,  # its second span loses windows, see the test
    "carla.mkv": [("labeled", "", "")],
    "empty.mp4": [("failed", "plan", "empty")],
    "fast.mp4": [("failed", "plan", "too_large")],
    "huge.mkv": [("failed", "plan", "too_large")],
    "missing.mp4": [("failed", "plan", "missing")],
    "no_audio.mp4": [("filtered", "plan", "no_audio")],
    "no_face.mp4": [("filtered", "media", "no_face")],
    "no_video.mp4": [("filtered", "plan", "no_video")],
    "silent.mp4": [("filtered", "media", "no_speech")],
    "text.mp4": [("failed", "plan", "not_media")],
    "truncated.mp4": [("labeled", "", ""), ("failed", "media", "truncated")],
    "two_faces.mp4": [("filtered", "media", "two_faces")],
}


FEW = ("anna.mp4", "ben.mp4", "missing.mp4", "silent.mp4", "truncated.mp4")
"""Enough for what is about the job and not about the files."""


@pytest.fixture(scope="session")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `EXPECTED`; ``manifest.parquet`` names them with a column of its own, ``few.parquet`` some."""
    folder = tmp_path_factory.mktemp("trouble")
    write_talking_head(folder / "anna.mp4", 8.0, seed=1)
    write_talking_head(folder / "ben.mp4", 3.2, seed=2, fps=30)
    write_talking_head(folder / "carla.mkv", 3.0, seed=3, fps=50)
    _garble(write_talking_head(folder / "broken_middle.mp4", 9.6, seed=4, codec_options={"g": "25"}), 4.0, 5.0)
    cut = write_talking_head(folder / "truncated.mp4", 6.4, seed=5, container_options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 45 // 100])
    write_talking_head(folder / "no_audio.mp4", audio=None)
    write_video(folder / "no_video.mp4", None, audio=voice(3.0), audio_rate_hz=16_000)
    write_talking_head(folder / "no_face.mp4", frames=moving_gradient)
    write_talking_head(folder / "silent.mp4", audio=np.zeros(16_000 * 3, np.float32))
    write_talking_head(folder / "two_faces.mp4", frames=_two_portraits)
    gray = np.full((8192, 8192, 3), 128, np.uint8)
    write_video(folder / "huge.mkv", [gray], 25, codec="ffv1", audio=voice(1.0), audio_rate_hz=16_000)
    small = np.zeros((64, 64, 3), np.uint8)
    write_video(folder / "fast.mp4", [small] * 2000, 1000, audio=voice(2.0), audio_rate_hz=16_000)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    for manifest, names in (("manifest", sorted(EXPECTED)), ("few", FEW)):
        table = pa.table({"uri": names, "speaker": [len(name) for name in names]})
        pq.write_table(table, folder / f"{manifest}.parquet")
    return folder


def _garble(path: Path, start_s: float, end_s: float) -> None:
    """Overwrite the pictures of a stretch of time with noise."""
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(video=0) if one.size and start_s <= one.pts * one.time_base < end_s]
        places = [(one.pos, one.size) for one in packets]
    data, noise = bytearray(path.read_bytes()), np.random.default_rng(0)
    for start, size in places:
        data[start : start + size] = noise.bytes(size)
    path.write_bytes(data)


def _two_portraits(time_s: float) -> np.ndarray:
    half = portrait_at(time_s)
    return np.concatenate([half, half[:, ::-1]], axis=1)


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> SmallTeachers:
    return make_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="session")
def label_config(teachers: SmallTeachers) -> LabelConfig:
    """Settings for the troubled corpus; input and output are to be set."""
    return LabelConfig(
        teachers=teachers.settings,
        plan=PlanConfig(span_seconds=SPAN_SECONDS),
        media=MediaConfig(faces=FaceConfig(detector="opencv")),
        teacher_pools={"clips": PoolConfig(batch_spans=2), "sound": PoolConfig(batch_spans=3)},
        precision="float32",  # so that tables are the same whatever the batches and the CPU
    )


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cluster the developer works with is left alone."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="session")
def labeled(
    trouble: Path, label_config: LabelConfig, ray_session: str, tmp_path_factory: pytest.TempPathFactory
) -> JobResult:
    """The corpus, labeled without interruption."""
    output = tmp_path_factory.mktemp("labels")
    return label_corpus(replace(label_config, input=str(trouble / "manifest.parquet"), output=str(output)))


@pytest.fixture(scope="session")
def rows(labeled: JobResult) -> dict[tuple[str, float], Row]:
    """Its table, by file name and start."""
    return rows_of(Path(labeled.folders.labels))


@pytest.fixture(scope="session")
def quick_config(label_config: LabelConfig, trouble: Path) -> LabelConfig:
    """Settings for ``few.parquet`` with a teacher that is there at once: for what is about the job alone."""
    return replace(label_config, input=str(trouble / "few.parquet"), teachers=["energy=energy:"], teacher_pools={})


@pytest.fixture(scope="session")
def quick_rows(
    quick_config: LabelConfig, ray_session: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, float], Row]:
    """Its table, from a run without interruption."""
    return rows_of(
        Path(label_corpus(replace(quick_config, output=str(tmp_path_factory.mktemp("quick")))).folders.labels)
    )


@pytest.fixture(scope="session")
def few_rows(rows: dict[tuple[str, float], Row]) -> dict[tuple[str, float], Row]:
    """Those of ``few.parquet``."""
    return {span: row for span, row in rows.items() if span[0] in FEW}
