"""The whole job through Ray, on generated talking heads with small teachers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from media_files import moving_gradient
from small_teachers import make_teachers
from talking_heads import write_talking_head

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.calibration.job import calibrate
from liser_ray.calibration.node import NodeMeter
from liser_ray.calibration.report import print_calibration
from liser_ray.calibration.sample import draw_sample
from liser_ray.commands.settings import parse_settings
from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig, PoolConfig, Prices, fit_pools
from liser_ray.media.faces import FaceConfig
from liser_ray.media.span import MediaConfig
from liser_ray.runtime.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Settings for a face of two spans and pictures without one."""
    folder = tmp_path_factory.mktemp("calibration")
    for name in ("videos", "no_faces", "teachers"):
        (folder / name).mkdir()
    write_talking_head(folder / "videos/anna.mp4", 3.2)
    write_talking_head(folder / "videos/nobody.mp4", 1.6, frames=moving_gradient)
    write_talking_head(folder / "no_faces/nobody.mp4", 1.6, frames=moving_gradient)
    teachers = make_teachers(folder / "teachers")
    return CalibrateConfig(
        input=str(folder / "videos"),
        output=str(folder / "out"),
        speech_teachers=teachers.speech,
        video_teacher=teachers.video,
        plan=PlanConfig(span_seconds=1.6, probe_workers=1),
        media=MediaConfig(faces=FaceConfig(detector="opencv")),
        spans=2,
        measure_s=1.0,
    )


def test_measured_sized_printed_and_fed_back(config, ray_session, capsys):
    result = calibrate(replace(config, prices=Prices(cpu_hour=0.04)))
    measured, sizing = result.measured, result.sizing
    assert (measured.media.spans, measured.media.lost) == (2, {"no_face": 1})
    assert measured.media.workers == measured.node.cores
    assert (measured.media.windows_per_span, measured.media.clip_bytes) == (3, 3 * 16 * 224 * 224 * 3)
    assert measured.speech_windows_per_span == pytest.approx(3, abs=0.3)
    assert measured.video.by_batch[0].batch_size == measured.speech.by_batch[0].batch_size == 1

    record = json.loads(Path(result.result_file).read_text())
    assert record["sizing"]["video_hours_per_day"] == sizing.hours_per_day > 0
    assert record["sizing"]["cost_per_1000_video_hours"] > 0
    assert record["drawn"] == {"spans": 2, "recordings": 2, "unusable": {}}

    back = parse_settings(LabelConfig, "", ["--config", result.settings_file])
    assert fit_pools(back, 2, 0) == sizing.pools

    capsys.readouterr()
    print_calibration(result, config)
    told = capsys.readouterr().out
    assert "2 spans drawn from 2 recordings" in told
    assert re.search(r"video teacher +│ \d+ cores? +│ +[\d.e+]+ │ +[\d.e-]+ core-s +\d+%", told)
    assert "of no use: no_face 1" in told
    assert f"--config label.yaml --config {result.settings_file}" in told


def test_a_missing_weight_on_the_node_is_one_clear_message(config, ray_session):
    with pytest.raises(UserError, match=r"/nowhere/s2d\.pth") as refused:
        calibrate(replace(config, video_teacher=replace(config.video_teacher, weights="/nowhere/s2d.pth")))
    assert "Traceback" not in str(refused.value)


def test_a_gpu_that_this_machine_has_not_is_not_waited_for(config, ray_session, monkeypatch):
    monkeypatch.setattr("liser_ray.calibration.job.cluster_size", lambda: (2.0, 0.0))  # one with a GPU is tested too
    for wanting in (replace(config, video_pool=PoolConfig(num_gpus=0.8)), replace(config, cpus=64, gpus=2)):
        with pytest.raises(UserError, match="this machine has none"):
            calibrate(wanting)


def test_spans_of_no_use_are_one_clear_message_with_the_reasons(config):
    without_faces = replace(config, input=config.input.replace("videos", "no_faces"))
    meter = NodeMeter(without_faces, draw_sample(without_faces), on_gpu=False)
    meter.media_alone()
    with pytest.raises(UserError, match=r"None of the 1 spans that were tried is of use to the teachers: no_face 1\."):
        meter.media_together(1)
