from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.calibration.measurements import Measurements, NodeFacts
from liser_ray.calibration.media import MediaSpeed
from liser_ray.calibration.report import detail_lines, sizing_lines
from liser_ray.calibration.sizing import Cluster, settings, size_pools
from liser_ray.calibration.teachers import BatchSpeed, TeacherSpeed
from liser_ray.commands.settings import parse_settings
from liser_ray.labeling.config import LabelConfig, PoolConfig, Prices, fit_pools
from liser_ray.runtime.errors import UserError

MEDIA = MediaSpeed(
    workers=8,
    video_s_per_s=2.0,
    slowdown=1.25,
    span_s_p50=8.0,
    span_s_p95=12.0,
    peak_bytes=300_000_000,
    runs=24,
    spans=24,
    lost={},
    usable_share=1.0,
    span_s=16.0,
    windows_per_span=30.0,
    clip_bytes=72_000_000,
    sound_bytes=280_000,
)


def teacher(batch_size, windows_per_s):
    return TeacherSpeed((BatchSpeed(batch_size, 100, windows_per_s),), "no gain")


# A second of video: 0.5 s of a core, 0.08 s of a GPU for the video teacher, 0.02 s for the speech teachers.
ON_GPU = Measurements(
    NodeFacts(8, 1, "NVIDIA L4"), MEDIA, teacher(32, 30 / 16 / 0.08), teacher(64, 100.0), 32.0, 290_000, 0.0
)
# 0.5 s of a core for decoding, 8 x 0.25 and 8 x 0.0625 s for the teachers, which use all 8.
ON_CPU = Measurements(NodeFacts(8, 0, ""), MEDIA, teacher(1, 30 / 16 / 0.25), teacher(8, 32.0), 32.0, 290_000, 0.0)


@given(together=st.integers(1, 40), batch=st.integers(1, 4096))
def test_batches_are_of_whole_blocks_and_hold_no_more_than_32_spans(together, batch):
    config = LabelConfig(media_pool=PoolConfig(batch_spans=together))
    pools = size_pools(replace(ON_GPU, video=teacher(batch, 20.0)), Cluster.of(16, 1, 1), config).pools
    assert pools.video.batch_spans % together == 0
    assert pools.video.batch_spans <= max(together, 32)


def test_one_gpu_by_hand():
    sizing = size_pools(ON_GPU, Cluster.of(16, 1, 1), LabelConfig())
    assert sizing.decoders_per_gpu == pytest.approx(5)
    # 16 CPUs, 2 of them for Ray, 1 for each teacher
    assert str(sizing.pools) == (
        "Workers: media 12 x 1 CPU · video teacher 1 x 1 CPU + 0.8 GPU · speech teachers 1 x 1 CPU + 0.2 GPU"
    )
    assert sizing.media_video_s_per_s == pytest.approx(24)
    assert sizing.video_s_per_s == sizing.teachers_video_s_per_s == pytest.approx(10)
    assert sizing.bottleneck == "GPU"
    assert sizing.hours_per_day == pytest.approx(240)
    assert sizing.pools.video.batch_spans == 6  # 4 batches of 32 are 128 windows, a span has 30; spans come in twos
    assert sizing.pools.speech.batch_spans == 8
    assert sizing.clip_bytes == (12 + 2 * 6) * 72_000_000
    # 16 CPUs and a GPU for an hour are 1.60, and label 10 hours
    assert sizing.cost_per_1000_hours(Prices(0.05, 0.8)) == pytest.approx(160)
    assert sizing.cost_per_1000_hours(Prices()) is None
    text = "\n".join(sizing_lines(sizing, Prices(0.05, 0.8, "EUR")))
    assert "One GPU needs 5 decoding cores to be kept busy and has 12. " in text
    assert "The GPUs are the bottleneck: CPUs wait 58% of the time." in text
    assert "At best 10 hours of video per hour, 240 a day, 160.00 EUR for 1,000 hours." in text


def test_gpus_that_starve_by_hand():
    sizing = size_pools(ON_GPU, Cluster.of(32, 8, 8), LabelConfig())
    # 32 CPUs, 8 of them for Ray; 16 workers of the teachers hold 0.75 each
    assert sizing.pools.video.num_cpus == 0.75
    assert sizing.pools.media.actors == 12
    assert sizing.bottleneck == "CPU"
    assert sizing.video_s_per_s == pytest.approx(24)
    assert "The CPUs are the bottleneck: GPUs wait 70% of the time." in "\n".join(sizing_lines(sizing, Prices()))


def test_without_gpus_every_stage_holds_its_share_of_the_cores():
    costs = ON_CPU.costs
    assert (costs.media_s, costs.video_s, costs.speech_s) == pytest.approx((0.5, 2.0, 0.5))
    sizing = size_pools(ON_CPU, Cluster.of(20, 0, 2), LabelConfig())
    # 18 CPUs: 3 for decoding, 12 and 3 for the teachers, which have a worker on each node
    assert str(sizing.pools) == "Workers: media 3 x 1 CPU · video teacher 2 x 6 CPU · speech teachers 2 x 1.5 CPU"
    assert sizing.video_s_per_s == pytest.approx(6)
    assert sizing.decoders_per_gpu is None
    assert sizing.bottleneck == "CPU"


def test_the_shipped_cluster_gets_the_pools_of_its_settings():
    shipped = LabelConfig(
        media_pool=PoolConfig(actors=3, num_cpus=1.25),
        video_pool=PoolConfig(num_cpus=0),
        speech_pool=PoolConfig(num_cpus=0),
    )
    pools = size_pools(ON_GPU, Cluster.of(8 * 6 + 2 * 16, 8, 10), shipped).pools
    assert (pools.media.actors, pools.media.num_cpus) == (56, 1.25)
    assert (pools.video.actors, pools.video.num_cpus, pools.video.num_gpus) == (8, 0, 0.8)


clusters = st.builds(Cluster.of, st.integers(4, 2000).map(float), st.integers(0, 64), st.integers(1, 2))
decoder_cpus = st.sampled_from([-1.0, 0.5, 1.0, 1.25])


def sized(cluster, num_cpus):
    config = LabelConfig(media_pool=PoolConfig(num_cpus=num_cpus))
    return size_pools(ON_GPU if cluster.gpus else ON_CPU, cluster, config)


@given(cluster=clusters, num_cpus=decoder_cpus)
def test_pools_never_ask_for_more_than_there_is(cluster, num_cpus):
    pools = sized(cluster, num_cpus).pools
    every = (pools.media, pools.video, pools.speech)
    assert all(pool.actors >= 1 for pool in every)
    assert sum(pool.actors * pool.num_cpus for pool in every) <= cluster.cpus - cluster.cpus_for_ray + 1e-6
    assert sum(pool.actors * pool.num_gpus for pool in every) <= cluster.gpus + 1e-6


@given(cluster=clusters, num_cpus=decoder_cpus)
def test_one_more_cpu_is_never_slower(cluster, num_cpus):
    more = replace(cluster, cpus=cluster.cpus + 1)
    assert sized(more, num_cpus).video_s_per_s >= sized(cluster, num_cpus).video_s_per_s - 1e-9


@given(cluster=clusters)
def test_twice_the_cluster_does_twice_as_much(cluster):
    twice = Cluster(2 * cluster.cpus, 2 * cluster.gpus, 2 * cluster.nodes, 2 * cluster.cpus_for_ray)
    assert sized(twice, -1.0).hours_per_day == pytest.approx(2 * sized(cluster, -1.0).hours_per_day)


@given(cluster=clusters, num_cpus=decoder_cpus)
def test_the_settings_are_the_pools_that_the_labeling_job_starts(cluster, num_cpus, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    (folder / "label.yaml").write_text(
        "input: videos\nvideo_teacher:\n  weights: s2d.pth\n  batch_size: 3\nvideo_pool:\n  batch_spans: 7\n"
    )
    sizing = sized(cluster, num_cpus)
    measured = ON_GPU if cluster.gpus else ON_CPU
    (folder / "calibrated.yaml").write_text(yaml.safe_dump(settings(measured, sizing)))
    files = [str(folder / name) for name in ("label.yaml", "calibrated.yaml")]
    config = parse_settings(LabelConfig, "", ["--config", files[0], "--config", files[1]])
    assert (config.input, config.video_teacher.weights) == ("videos", "s2d.pth")
    assert config.video_teacher.batch_size == measured.video.best.batch_size
    assert config.speech_batch_size == measured.speech.best.batch_size
    assert fit_pools(config, cluster.cpus, cluster.gpus) == fit_pools(config, 0, 0) == sizing.pools


def test_another_device_than_the_measured_one_is_refused():
    with pytest.raises(UserError, match=r"measured on a CPU.* 16 CPUs and 1 GPU on 1 node"):
        size_pools(ON_CPU, Cluster.of(16, 1, 1), LabelConfig())
    with pytest.raises(UserError, match="measured on a GPU"):
        size_pools(ON_GPU, Cluster.of(16, 0, 1), LabelConfig())


def test_a_cluster_without_a_cpu_to_decode_with_is_refused():
    with pytest.raises(UserError, match="2 CPUs and 1 GPU on 1 node leave no CPU to decode with: 2 are for Ray's own"):
        size_pools(ON_GPU, Cluster.of(2, 1, 1), LabelConfig())
    with pytest.raises(UserError, match="4 for 4 workers"):
        size_pools(
            ON_GPU,
            Cluster.of(6, 2, 1),
            LabelConfig(video_pool=PoolConfig(num_cpus=1.0), speech_pool=PoolConfig(num_cpus=1.0)),
        )


def test_spans_of_no_use_cost_the_teachers_nothing():
    half = replace(ON_GPU, media=replace(MEDIA, usable_share=0.5, lost={"no_face": 12}))
    assert half.costs.teachers_s == pytest.approx(ON_GPU.costs.teachers_s / 2)
    assert half.costs.media_s == ON_GPU.costs.media_s
    assert any("50% of the time goes on to the teachers; of no use: no_face 12" in line for line in detail_lines(half))


def test_a_busy_node_is_mentioned():
    assert not any("busy" in line for line in detail_lines(ON_GPU))
    busy = replace(ON_GPU, busy_cores=3.2)
    assert any("3.2 cores were busy with something else" in line for line in detail_lines(busy))
