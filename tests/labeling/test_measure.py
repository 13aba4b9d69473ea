"""--measure: what is drawn from an input, and what follows for a cluster."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from media_files import moving_gradient
from talking_heads import write_talking_head

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling import measure
from liser_ray.labeling.config import LabelConfig, MeasureConfig, PoolConfig, Prices, fit_pools
from liser_ray.labeling.measure import Cluster, draw_spans, evaluate, measure_corpus, print_measurement
from liser_ray.labeling.progress import Counts, Work
from liser_ray.runtime.errors import UserError

SPAN_S = 16.0
LABELED = {("labeled", ""): 8, ("filtered", "no_face"): 2}
# Of ten spans two have no face. A second of video takes a decoder .25 s, 80 % of it a GPU .1 s and .025 s.
DONE = {
    "media": Work(10, 2, 40.0),
    "clips": Work(8, 0, 16.0, 240, 256),
    "sound": Work(8, 0, 4.0, 256, 256),
}
LISER = ["face=s2d:s2d.pth,landmarks.pth", "speech=speech:teachers/fold-*"]
ON_GPU = LabelConfig(teachers=LISER)
ONE_GPU = Cluster(10, 1, 1)


def evaluated(cluster, config=ON_GPU, work=None, outcomes=None, before=None):
    pools = fit_pools(config, ONE_GPU.cpus, ONE_GPU.gpus if cluster.gpus else 0)
    fitted = fit_pools(config, cluster.cpus, cluster.gpus, cluster.nodes)
    after = Counts(LABELED if outcomes is None else outcomes, 160.0, DONE if work is None else work)
    return evaluate(before or Counts(), after, SPAN_S, pools, ONE_GPU.cpus, cluster, fitted)


@pytest.mark.parametrize(("cpus", "bottleneck", "speed"), [(5, "decoders", 4), (60, "teachers", 8)])
def test_decoders_for_a_gpu_and_what_holds_the_cluster_up(cpus, bottleneck, speed, capsys):
    of_one = PoolConfig(num_cpus=1)
    config = LabelConfig(teachers=LISER, teacher_pools={"clips": of_one, "sound": of_one})
    found = evaluated(Cluster(cpus, 1, 1), config)
    assert found.decoders_per_gpu == pytest.approx(2)
    print_measurement(found, "pools.yaml", Prices())
    text = capsys.readouterr().out
    assert "One GPU needs 2 decoding cores to be kept busy" in text
    assert found.speed == pytest.approx(speed)
    assert "batches 94% full" in text
    assert "Of no use: no_face 2" in text
    assert f"The {bottleneck} are the bottleneck" in text


def test_what_teachers_do_on_cpus_takes_nothing_of_a_gpu():
    sound = PoolConfig(2, 1, num_gpus=0)
    config = LabelConfig(teachers=LISER, teacher_pools={"sound": sound})
    found = evaluated(Cluster(60, 1, 1), config)
    assert found.decoders_per_gpu == pytest.approx(2.5)
    assert found.teachers_speed == pytest.approx(10)  # the GPU's
    slow = evaluated(Cluster(60, 1, 1), config, DONE | {"sound": Work(8, 0, 80.0, 256, 256)})
    assert slow.teachers_speed == pytest.approx(4)  # of two workers, each of which takes .5 s
    assert measure._with_open_sizes(config).teacher_pools["sound"] == sound
    alone = LabelConfig(teachers=["energy=energy:"])
    work = {"media": DONE["media"], "sound": DONE["sound"]}
    assert evaluated(ONE_GPU, alone, work).decoders_per_gpu is None


def test_hours_a_day_and_the_price_of_a_thousand(capsys):
    found = evaluated(Cluster(80, 8, 10))
    assert found.speed == pytest.approx(64)  # seconds of video a second, 8 for each GPU
    print_measurement(found, "pools.yaml", Prices(cpu_hour=0.05, gpu_hour=1.5))
    text = capsys.readouterr().out
    assert "For 80 CPUs and 8 GPUs on 10 nodes:" in text
    assert "64 hours of video per hour, 1,536 a day, 250.00 USD for 1,000 hours." in text  # 4 + 12 an hour


def test_without_gpus_the_slowest_stage_on_so_many_more_cores():
    alone, ten = (evaluated(Cluster(cpus, 0, 1)) for cpus in (10, 100))
    assert alone.decoders_per_gpu is None
    assert alone.speed == pytest.approx(10)  # the video teacher has one worker, which takes .1 s
    assert ten.speed == pytest.approx(10 * alone.speed)


def test_first_calls_do_not_count_where_there_are_others():
    warm_up = {stage: Work(1, 0, 100.0) for stage in DONE}
    work = {stage: one + warm_up[stage] for stage, one in DONE.items()}
    found = evaluated(ONE_GPU, work=work, before=Counts({}, 0.0, warm_up))
    assert found.work == DONE
    assert evaluated(ONE_GPU, before=Counts({}, 0.0, {"media": Work(10, 2, 40.0)})).work == DONE


def test_spans_of_no_use_are_one_clear_message_with_the_reasons():
    with pytest.raises(UserError, match=r"None of the 3 spans that were tried is of use to the teachers: no_face 3\."):
        evaluated(ONE_GPU, work={"media": Work(3, 3, 9.0)}, outcomes={("filtered", "no_face"): 3})


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A face of four spans, one of one, pictures without one, and a text."""
    folder = tmp_path_factory.mktemp("videos")
    write_talking_head(folder / "anna.mp4", 6.4)
    write_talking_head(folder / "ben.mp4", 1.6, seed=1)
    write_talking_head(folder / "nobody.mp4", 1.6, frames=moving_gradient)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def config(label_config, videos):
    return replace(
        label_config,
        input=str(videos),
        plan=replace(label_config.plan, span_seconds=1.6),
        measure=MeasureConfig(seconds=60),
    )


def test_spans_are_drawn_evenly_over_the_recordings(config):
    plan, recordings, unusable = draw_spans(config, 4)
    drawn = {(Path(row["uri"]).stem, row["start_s"]) for row in plan.to_pylist()}
    assert drawn == {("anna", 1.6), ("anna", 4.8), ("ben", 0.0), ("nobody", 0.0)}
    assert (recordings, unusable) == (3, {"not_media": 1})
    assert draw_spans(config, 4)[0] == plan


def test_an_input_without_anything_to_label_is_one_clear_message(config, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"None of 1 recordings in .* can be measured: not_media 1\. .*--dry_run"):
        draw_spans(replace(config, input=str(tmp_path)), 4)


@pytest.mark.slow
def test_measured_printed_and_fed_back(config, ray_session, tmp_path, capsys):
    config = replace(config, output=str(tmp_path), prices=Prices(cpu_hour=0.04))
    result, pools_file = measure_corpus(config)
    assert (result.recordings, result.spans, result.lost) == (3, 6, {"not_media": 1, "no_face": 1})
    assert result.work["media"].spans > result.work["clips"].spans > 0
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"pools.yaml", "measured.json"}
    record = json.loads((tmp_path / "measure/measured.json").read_text())
    assert record["video_hours_per_day"] == pytest.approx(24 * result.speed)
    assert record["cost_per_1000_video_hours"] > 0

    capsys.readouterr()
    print_measurement(result, pools_file, config.prices)
    text = capsys.readouterr().out
    assert "6 spans of 3 recordings" in text
    assert re.search(r"clips .* +│ 1 on CPU +│ +[\d.]+ │ +[\d.e-]+ s of one", text)
    assert f"--config {pools_file}" in text
    fed_back = parse_settings(LabelConfig, "", ["--config", pools_file, "--teachers", *LISER], lists=["--teachers"])
    assert fit_pools(fed_back, 4, 0) == result.fitted


def test_measured_on_a_cpu_nothing_is_said_about_gpus(config, ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "ray_resources", lambda: (4.0, 0.0, 1))  # one with a GPU is tested too
    asked = replace(config, output=str(tmp_path), measure=MeasureConfig(60, cpus=64, gpus=2))
    with pytest.raises(UserError, match=r"measured on a CPU, which says nothing about 64 CPUs and 2 GPUs on 1 node"):
        measure_corpus(asked)
