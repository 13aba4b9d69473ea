import pytest
import torch
from ray.data import DataContext
from small_labels import SPEECH_LABELS, TARGETS, write_labels

from liser_ray.student.data import order, stream
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.stream import StreamedSegments, StreamSource
from liser_ray.student.data.unlabeled import HeldSegments, SegmentSettings, load_unlabeled

CPU = torch.device("cpu")
SETTINGS = SegmentSettings(SPEECH_LABELS)
TAUGHT = {"speech": TARGETS[1], "face": TARGETS[0]}
SEED = 5


@pytest.fixture
def small_chunks(monkeypatch):
    for module in (order, stream):  # rows are shuffled in the process that takes them
        monkeypatch.setattr(module, "SHUFFLE_ROWS", 10)
    monkeypatch.setattr(stream, "_MAX_TASKS", 16)  # two laps: each run of the pipeline would prepare 4,096


def source_of(folder, **of_rows):
    written = write_labels(folder, rows=50, files=3, rows_per_group=7, **of_rows)
    table = open_labels_table(str(folder))
    assert len(table.groups) > 6
    return StreamSource(table, TAUGHT, SETTINGS, SEED), written


def assert_same(streamed, held):
    torch.testing.assert_close(streamed.log_mel, held.log_mel, atol=1e-4, rtol=1e-4)
    assert streamed.targets.keys() == held.targets.keys() == TAUGHT.keys()
    for name, target in held.targets.items():
        for one, other in zip(streamed.targets[name], target, strict=True):
            assert torch.equal(one, other)


@pytest.mark.slow
def test_the_same_segments_as_from_memory(tmp_path, ray_session, small_chunks):
    """Through several laps and two runs of the pipeline, and from the middle of a lap on."""
    source, _ = source_of(tmp_path)
    table = source.table
    recordings = load_unlabeled(table, TARGETS, SETTINGS, CPU, lambda _: None)
    context = DataContext.get_current()
    before = context.execution_options, context.enable_progress_bars
    for start, sizes in ((0, (25, 0, 1, table.n_rows, table.n_rows)), (table.n_rows + 23, (7, 25))):
        streamed, held = StreamedSegments(source, start, CPU), HeldSegments(recordings, TAUGHT, SEED, start, CPU)
        for n in sizes:
            assert_same(streamed.take(n), held.take(n))
        streamed.close()
    assert (context.execution_options, context.enable_progress_bars) == before
    assert DataContext.get_current() is context


@pytest.mark.slow
def test_two_processes_share_each_lap_and_need_not_keep_step(tmp_path, ray_session, small_chunks):
    """Recordings of less than 3 s, so that each has one segment only, by which it can be told."""
    start = 7  # in the middle of a lap
    source, written = source_of(tmp_path, lengths_s=(1.0, 2.9))
    n_rows = source.table.n_rows
    names = {name_of(row["values"]["fold-0"].mean(axis=0)) for row in written}
    assert len(names) == n_rows
    first, second = (StreamedSegments(source, start, CPU, rank, 2) for rank in range(2))
    left = n_rows // 2 - start  # of this lap, for each
    laps = [
        [
            [name_of(row) for row in one.take(2 * n, slice(rank, None, 2)).targets["speech"].values]
            for n in (left, n_rows // 2)
        ]
        for rank, one in enumerate((first, second))  # the first through both laps before the second begins
    ]
    for one, other in zip(*laps, strict=True):
        assert len(one) == len(other)
        assert len({*one, *other}) == len(one) + len(other)
        assert {*one, *other} <= names
    assert laps[0][1] != laps[1][1]
    first.close()
    second.close()


def name_of(speech):
    return tuple(round(float(one), 4) for one in speech)
