import pickle
import pkgutil
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.config import LabelConfig, PoolConfig, fit_pools, spans_per_file
from liser_ray.labeling.pipeline import stage_of_pool
from liser_ray.labeling.teacher_stage import TeacherStage
from liser_ray.media.span import Needs
from liser_ray.runtime.cluster import CPUS_FOR_RAY
from liser_ray.runtime.errors import UserError
from liser_ray.teachers import kinds

LISER = ["face=s2d:s2d.pth,landmarks.pth", "speech=speech:teachers/fold-*"]


def config(media=PoolConfig(), teachers=LISER, **pools):  # noqa: B008 (frozen)
    return LabelConfig(teachers=teachers, media_pool=media, teacher_pools=pools)


@given(cpus=st.integers(1, 512), gpus=st.integers(0, 16), nodes=st.integers(1, 40))
def test_pools_fit_the_cluster_and_leave_room_for_rays_own_tasks(cpus, gpus, nodes):
    pools = fit_pools(config(), cpus, gpus, nodes).by_stage.values()
    assert all(pool.actors >= 1 for pool in pools)
    assert sum(pool.actors * pool.num_cpus for pool in pools) <= max(0, cpus - max(CPUS_FOR_RAY, nodes)) + 1e-6
    assert sum(pool.actors * pool.num_gpus for pool in pools) <= gpus + 1e-6


@pytest.mark.parametrize("n_pools", range(1, 9))
@pytest.mark.parametrize(("cpus", "nodes"), [(4, 1), (6, 1), (40, 10)])
def test_many_pools_leave_a_whole_cpu_of_each_node_to_ray(n_pools, cpus, nodes):
    teachers = [f"one{number}=energy:" for number in range(n_pools)]
    own = {f"one{number}": PoolConfig() for number in range(n_pools)}
    pools = fit_pools(config(teachers=teachers, **own), cpus, 0, nodes)
    assert len(pools.teachers) == n_pools
    on_a_node = sum(pool.num_cpus * pool.actors / nodes for pool in pools.teachers.values())
    assert on_a_node <= cpus / nodes - 1


def test_the_help_names_all_kinds_of_teachers():
    told = re.split(r"Kinds are|see docs", LabelConfig.__doc__)[1]
    assert {*re.findall(r"\w+", told)} >= {"student", *(one.name for one in pkgutil.iter_modules(kinds.__path__))}


def test_the_stage_of_each_pool_has_a_name_that_ray_shows():
    stage = pickle.loads(cloudpickle.dumps(stage_of_pool("sound")))
    assert (stage.__name__, issubclass(stage, TeacherStage)) == ("TeacherStage_sound", True)


NO_CPU = PoolConfig(num_cpus=0)
SOUND = ["speech=speech:teachers/fold-*"]
TWO_FACES = [*LISER, "smile=face:smile.yaml"]


@pytest.mark.parametrize(
    ("config", "cluster", "expected"),
    [
        # each node without a GPU gets all teachers
        (config(), (4, 0, 1), [(2, 0.5, 0, 2), (1, 0.5, 0, 2), (1, 0.5, 0, 2)]),
        (config(), (40, 0, 4), [(36, None, 0, 2), (4, 1, 0, 2), (4, 1, 0, 2)]),
        # each GPU gets all, which hold no CPU so that no decoder can take their node's last one; the rest decode
        (config(), (34, 2, 1), [(28, 1, 0, 2), (2, 0, 0.8, 4), (2, 0, 0.2, 4)]),
        (config(teachers=SOUND), (34, 2, 1), [(30, 1, 0, 2), (2, 0, 1.0, 4)]),
        (config(teachers=TWO_FACES), (34, 2, 1), [(28, 1, 0, 2), (2, 0, 0.8, 4), (2, 0, 0.2, 4)]),
        # a teacher with a pool of its own
        (
            config(teachers=TWO_FACES, smile=PoolConfig(num_gpus=0)),
            (34, 2, 1),
            [(26, 1, 0, 2), (2, 0, pytest.approx(4 / 9), 4), (2, 1, 0, 2), (2, 0, pytest.approx(1 / 9), 4)],
        ),
        # who computes on the CPU holds no GPU, but in a pool with others that do not
        (
            config(teachers=["units=action_units:a.task", "energy=energy:"]),
            (34, 2, 1),
            [(28, 1, 0, 2), (2, 1, 0, 2), (2, 1, 0, 2)],
        ),
        (
            config(teachers=[*LISER, "units=action_units:a.task", "energy=energy:"], units=PoolConfig()),
            (34, 2, 1),
            [(26, 1, 0, 2), (2, 0, 0.8, 4), (2, 1, 0, 2), (2, 0, 0.2, 4)],
        ),
        (
            config(teachers=["units=action_units:described.yaml"]),  # an ONNX model
            (34, 2, 1),
            [(30, 1, 0, 2), (2, 0, 1.0, 4)],
        ),
        # a teacher on a CPU takes the spans that come together
        (config(sound=PoolConfig(num_gpus=0)), (34, 2, 1), [(28, 1, 0, 2), (2, 0, 0.8, 4), (2, 1, 0, 2)]),
        # decoders that hold more than a CPU are fewer, as configs/cluster/label.yaml has it
        (
            config(PoolConfig(num_cpus=1.25), clips=NO_CPU, sound=NO_CPU),
            (80, 8, 10),
            [(56, 1.25, 0, 2), (8, 0, 0.8, 4), (8, 0, 0.2, 4)],
        ),
        # what the user says stays
        (
            config(PoolConfig(5, 2), clips=PoolConfig(3, num_gpus=1, batch_spans=7)),
            (16, 4, 1),
            [(5, 2, 0, 2), (3, None, 1, 7), (4, None, 0.2, 4)],
        ),
    ],
)
def test_pools_are_fitted_to_the_cluster(config, cluster, expected):
    for pool, values in zip(fit_pools(config, *cluster).by_stage.values(), expected, strict=True):
        actors, num_cpus, num_gpus, batch_spans = values
        assert (pool.actors, pool.num_gpus, pool.batch_spans) == (actors, num_gpus, batch_spans)
        assert num_cpus is None or pool.num_cpus == num_cpus


@pytest.mark.parametrize(
    ("spans", "seconds", "expected"),
    [
        (10_000, 160_000, (2, 4)),
        (10_000, 20_000, (16, 32)),  # of 2 s: eight make a usual one
        (10_000, 0, (2, 4)),
        (300, 600, (2, 4)),  # or most of the 28 decoders would have nothing to do
        (1000, 2000, (8, 16)),
    ],
)
def test_of_short_spans_a_worker_takes_more_at_a_time(spans, seconds, expected):
    media, *teachers = fit_pools(config(), 34, 2, 1, spans, seconds).by_stage.values()
    assert (media.batch_spans, *{one.batch_spans for one in teachers}) == expected
    said = config(PoolConfig(batch_spans=3))
    assert fit_pools(said, 34, 2, 1, spans, seconds).media.batch_spans == 3


def test_who_says_whether_the_face_speaks_is_asked_first():
    teachers = [*LISER, "talks=speaks:landmarks.pth"]
    assert [one.name for one in config(teachers=teachers).entries] == ["talks", "face", "speech"]
    assert [*config(teachers=teachers, face=PoolConfig()).teacher_groups] == ["clips", "face", "sound"]


def test_nothing_is_fitted_to_a_cluster_that_has_no_workers_yet():
    pool = PoolConfig(actors=2, num_cpus=1, num_gpus=0.5)
    for open_values in (
        config(),
        config(pool, clips=pool),
        config(pool, clips=pool, sound=PoolConfig(actors=2, num_cpus=1)),
    ):
        with pytest.raises(UserError, match=r"configs/cluster/label\.yaml"):
            fit_pools(open_values, 0, 0)
    pools = fit_pools(config(pool, clips=pool, sound=pool), 0, 0)
    assert {(one.actors, one.num_cpus, one.num_gpus) for one in pools.by_stage.values()} == {(2, 1, 0.5)}


def test_fitted_shares_that_others_leave_no_room_for_are_refused():
    whole = PoolConfig(num_gpus=1)
    with pytest.raises(UserError, match=r"ask for 1\.2 GPUs and the cluster has 1.*pools\.clips and .*sound"):
        fit_pools(config(clips=whole), 16, 1)
    fit_pools(config(clips=whole, sound=whole), 16, 1)  # it may grow
    fit_pools(config(teachers=[LISER[0], "energy=energy:"], clips=PoolConfig(8, num_gpus=1)), 16, 1)


def test_what_is_decoded_follows_from_what_the_teachers_take():
    assert config().needs == Needs(clips=True, face=True, speech=True)
    assert config(teachers=SOUND).needs == Needs(clips=False, face=False, speech=True)
    optional = LabelConfig(teachers=LISER, require=["speech"])
    assert optional.needs == Needs(clips=True, face=False, speech=True)
    assert LabelConfig(teachers=LISER, require=[]).needs == Needs(clips=True, face=False, speech=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teachers": ["face"]}, "NAME=KIND:ADDRESS"),
        ({"teachers": ["face=s2d.pth"]}, "of which kind"),
        ({"teachers": ["a=speech:x", "a=speech:y"]}, "comes twice"),
        ({"teachers": ["a=oracle:x"]}, "no kind of teacher 'oracle': give one of action_units, energy, face"),
        ({"teachers": {"a": {"kind": "speech", "wieghts": "x"}}}, "speech has the settings weights"),
        ({"teachers": {"a": 3}}, "give its kind"),
        ({"teachers": LISER, "require": ["faces"]}, "no teacher 'faces'"),
        ({"teachers": LISER, "require": ["clips"]}, "no teacher 'clips'"),
        ({"teachers": ["sound=speech:x"]}, "can't be called sound"),
        ({"teachers": ["media=speech:x"]}, "can't be called media"),
        ({"teachers": LISER, "teacher_pools": {"video": PoolConfig()}}, "no teacher 'video'"),
    ],
)
def test_teachers_that_are_none_are_refused_in_words(settings, words):
    with pytest.raises(UserError, match=words):
        LabelConfig(**settings)


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
