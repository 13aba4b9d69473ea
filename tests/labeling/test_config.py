from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig, PoolConfig, fit_pools, spans_per_file
from liser_ray.runtime.cluster import CPUS_FOR_RAY
from liser_ray.runtime.errors import UserError


@given(cpus=st.integers(1, 512), gpus=st.integers(0, 16), nodes=st.integers(1, 40))
def test_pools_fit_the_cluster_and_leave_room_for_rays_own_tasks(cpus, gpus, nodes):
    pools = fit_pools(LabelConfig(), cpus, gpus, nodes).by_stage.values()
    assert all(pool.actors >= 1 for pool in pools)
    assert sum(pool.actors * pool.num_cpus for pool in pools) <= max(0, cpus - max(CPUS_FOR_RAY, nodes)) + 1e-6
    assert sum(pool.actors * pool.num_gpus for pool in pools) <= gpus + 1e-6


def test_each_node_without_a_gpu_gets_both_teachers():
    pools = fit_pools(LabelConfig(), 40, 0, nodes=4)
    assert (pools.video.actors, pools.speech.actors, pools.media.actors) == (4, 4, 36)


def test_decoders_that_hold_more_than_a_cpu_are_fewer():
    config = LabelConfig(media_pool=PoolConfig(num_cpus=1.25), video_pool=PoolConfig(num_cpus=0))
    pools = fit_pools(replace(config, speech_pool=config.video_pool), 80, 8, nodes=10)
    assert (pools.media.actors, pools.media.num_cpus) == (56, 1.25)  # as configs/cluster/label.yaml has it


def test_each_gpu_gets_both_teachers_and_the_rest_of_the_cpus_decode():
    pools = fit_pools(LabelConfig(), 34, 2)
    assert (pools.video.actors, pools.video.num_gpus) == (2, 0.8)
    assert (pools.speech.actors, pools.speech.num_gpus) == (2, 0.2)
    assert (pools.media.actors, pools.media.num_cpus, pools.media.num_gpus) == (28, 1, 0)


@pytest.mark.parametrize(
    ("config", "cluster", "expected"),
    [
        (LabelConfig(), (34, 2), [2, 4, 4]),
        (LabelConfig(), (4, 0), [2, 2, 2]),
        (LabelConfig(speech_pool=PoolConfig(num_gpus=0)), (34, 2), [2, 4, 2]),
    ],
)
def test_a_teacher_on_a_cpu_takes_the_spans_that_come_together(config, cluster, expected):
    assert [pool.batch_spans for pool in fit_pools(config, *cluster).by_stage.values()] == expected


def test_what_the_user_says_stays():
    config = LabelConfig(
        media_pool=PoolConfig(actors=5, num_cpus=2), video_pool=PoolConfig(actors=3, num_gpus=1, batch_spans=7)
    )
    pools = fit_pools(config, 16, 4)
    assert (pools.media.actors, pools.media.num_cpus) == (5, 2)
    assert (pools.video.actors, pools.video.num_gpus, pools.video.batch_spans) == (3, 1, 7)


def test_nothing_is_fitted_to_a_cluster_that_has_no_workers_yet():
    pool = PoolConfig(actors=2, num_cpus=1, num_gpus=0.5)
    for config in (
        LabelConfig(),
        LabelConfig(media_pool=pool, video_pool=pool),
        LabelConfig(media_pool=pool, video_pool=pool, speech_pool=PoolConfig(actors=2, num_cpus=1)),
    ):
        with pytest.raises(UserError, match=r"configs/cluster/label\.yaml"):
            fit_pools(config, 0, 0)
    pools = fit_pools(LabelConfig(media_pool=pool, video_pool=pool, speech_pool=pool), 0, 0)
    assert {(one.actors, one.num_cpus, one.num_gpus) for one in pools.by_stage.values()} == {(2, 1, 0.5)}


def test_files_grow_with_the_job():
    assert [spans_per_file(LabelConfig(), spans) for spans in (1, 12, 640, 10_000_000)] == [1, 1, 20, 768]
    assert spans_per_file(LabelConfig(spans_per_file=5), 10_000) == 5


@given(span_seconds=st.floats(1, 3600), spans=st.integers(0, 10**8))
def test_a_files_sound_fits_a_column_even_if_it_is_noise(span_seconds, spans):
    config = LabelConfig(plan=PlanConfig(span_seconds=span_seconds))
    assert 1 <= spans_per_file(config, spans) <= max(1, spans)
    assert spans_per_file(config, spans) * span_seconds * 16_000 * 2 < 2**31


def test_nonsense_is_refused():
    with pytest.raises(UserError, match="batch_spans"):
        PoolConfig(batch_spans=-1)
    with pytest.raises(UserError, match="spans_per_file"):
        LabelConfig(spans_per_file=-1)
    with pytest.raises(UserError, match=r"2 GiB that a column of a file can hold\. Give at most 4152"):
        LabelConfig(spans_per_file=8000)
