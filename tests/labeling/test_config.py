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


NO_CPU = PoolConfig(num_cpus=0)


@pytest.mark.parametrize(
    ("config", "cluster", "expected"),
    [
        # each node without a GPU gets both teachers
        (LabelConfig(), (4, 0, 1), [(2, 0.5, 0, 2), (1, 0.5, 0, 2), (1, 0.5, 0, 2)]),
        (LabelConfig(), (40, 0, 4), [(36, None, 0, 2), (4, 1, 0, 2), (4, 1, 0, 2)]),
        # each GPU gets both, and the rest of the CPUs decode
        (LabelConfig(), (34, 2, 1), [(28, 1, 0, 2), (2, 1, 0.8, 4), (2, 1, 0.2, 4)]),
        # a teacher on a CPU takes the spans that come together
        (LabelConfig(speech_pool=PoolConfig(num_gpus=0)), (34, 2, 1), [(28, 1, 0, 2), (2, 1, 0.8, 4), (2, 1, 0, 2)]),
        # decoders that hold more than a CPU are fewer, as configs/cluster/label.yaml has it
        (
            LabelConfig(media_pool=PoolConfig(num_cpus=1.25), video_pool=NO_CPU, speech_pool=NO_CPU),
            (80, 8, 10),
            [(56, 1.25, 0, 2), (8, 0, 0.8, 4), (8, 0, 0.2, 4)],
        ),
        # what the user says stays
        (
            LabelConfig(media_pool=PoolConfig(5, 2), video_pool=PoolConfig(3, num_gpus=1, batch_spans=7)),
            (16, 4, 1),
            [(5, 2, 0, 2), (3, None, 1, 7), (4, None, 0.2, 4)],
        ),
    ],
)
def test_pools_are_fitted_to_the_cluster(config, cluster, expected):
    for pool, values in zip(fit_pools(config, *cluster).by_stage.values(), expected, strict=True):
        actors, num_cpus, num_gpus, batch_spans = values
        assert pool == PoolConfig(actors, pool.num_cpus if num_cpus is None else num_cpus, num_gpus, batch_spans)


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
