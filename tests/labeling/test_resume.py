"""Whatever a killed job leaves behind: an id is in the checkpoint if and only if its row is in the labels."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liser_ray.labeling import resume
from liser_ray.labeling.resume import OutputFolders, count_outcomes, reconcile, remove_doubles, remove_failed
from liser_ray.media.outcome import TRANSIENT_REASONS
from liser_ray.runtime.errors import UserError
from liser_ray.storage.retries import retried


def ids(digits: str) -> list[str]:
    """Span ids, one for each digit; the longest run of zero bytes is at their end."""
    return [f"{digit * 2}{0:030}" for digit in digits]


ROWS = {"a": ids("12"), "b": ids("3"), "c": ids("456")}


@pytest.fixture
def output(tmp_path) -> OutputFolders:
    """Three committed files with six rows."""
    folders = OutputFolders(str(tmp_path))
    for stem, span_ids in ROWS.items():
        write_rows(folders, stem, span_ids)
        write_ids(folders, stem, span_ids)
    return folders


def write_rows(folders, stem, span_ids, status="labeled", reason=""):
    path = Path(folders.labels, f"{stem}-0.parquet")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(
        pa.table({"span_id": span_ids, "status": [status] * len(span_ids), "reason": [reason] * len(span_ids)}), path
    )
    return path


def write_ids(folders, stem, span_ids):
    path = Path(folders.checkpoint, f"{stem}.parquet")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"span_id": span_ids}), path)
    return path


def ids_in(folder) -> list[str]:
    return sorted(one for path in Path(folder).glob("*.parquet") for one in pq.read_table(path)["span_id"].to_pylist())


def test_what_is_whole_stays_untouched_and_a_new_output_is_empty(output, tmp_path):
    assert reconcile(OutputFolders(str(tmp_path / "new"))) == 0
    before = {path: path.stat().st_mtime_ns for path in Path(output.output).rglob("*.parquet")}
    assert reconcile(output) == 6
    assert {path: path.stat().st_mtime_ns for path in Path(output.output).rglob("*.parquet")} == before


@pytest.mark.parametrize("rows_are", ["not there", "torn", "whole"])
def test_killed_before_the_commit(output, rows_are):
    write_ids(output, "d.pending", ids("7"))
    if rows_are == "torn":
        Path(output.labels, "d-0.parquet").write_bytes(b"PAR1 torn")
    elif rows_are == "whole":
        write_rows(output, "d", ids("7"))
    assert reconcile(output) == 6  # Ray's own rule: what is not committed is made again
    assert not Path(output.labels, "d-0.parquet").exists()
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("123456")


def test_killed_in_the_middle_of_a_rename_that_is_copy_and_delete(output):
    committed = Path(output.checkpoint, "a.parquet")
    shutil.copy(committed, committed.with_name("a.pending.parquet"))
    assert reconcile(output) == 6
    assert not committed.with_name("a.pending.parquet").exists()
    assert ids_in(output.labels) == ids("123456")


def test_labels_without_a_checkpoint_are_kept_not_made_twice(output):
    shutil.rmtree(output.checkpoint)
    assert reconcile(output) == 6
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("123456")


def test_a_deleted_file_is_made_again(output):
    Path(output.labels, "c-0.parquet").unlink()
    assert reconcile(output) == 3
    assert ids_in(output.checkpoint) == ids("123")


def tear(path, torn):
    """What a machine that loses its power may leave of a file, since nobody waits for the disk."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(torn * len(whole)) if torn == 0.5 else torn])


@pytest.mark.parametrize(("file", "left"), [("labels/c-0.parquet", "123"), ("checkpoint/c.parquet", "123456")])
@pytest.mark.parametrize("torn", [0, 4, 0.5, -1], ids=["empty", "its first bytes", "half", "all but its end"])
def test_rows_that_a_power_cut_has_torn_are_made_again_and_marks_written_anew(output, file, left, torn, caplog):
    tear(Path(output.output, file), torn)
    for _ in range(2):
        assert reconcile(output) == len(left)
        assert ids_in(output.checkpoint) == ids_in(output.labels) == ids(left)
    assert f"{output.output}/{file} is torn" in caplog.text


def test_rows_and_mark_torn_together_and_one_file_of_two(output):
    for path in (Path(output.labels, "c-0.parquet"), Path(output.checkpoint, "c.parquet")):
        tear(path, 0)
    shutil.copy(Path(output.labels, "a-0.parquet"), Path(output.labels, "a-1.parquet"))
    tear(Path(output.labels, "a-1.parquet"), 0.5)
    assert reconcile(output) == 3
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("123")


@pytest.mark.parametrize(
    ("broken", "raised"),
    [
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation"), OSError),
        (TimeoutError("silent"), OSError),
        (pa.ArrowInvalid("Failed reading metadata buffer (requested 99 bytes but got 7 bytes)"), UserError),
    ],
)
def test_a_store_that_can_not_be_read_now_costs_nothing(output, monkeypatch, broken, raised):
    before = {path: path.read_bytes() for path in Path(output.output).rglob("*.parquet")}

    def broken_off(path, **_):
        raise broken

    monkeypatch.setattr(resume.pq, "read_metadata", broken_off)
    monkeypatch.setattr(resume, "retried", partial(retried, patience_s=0))
    with pytest.raises(raised, match=str(broken)[:9]):
        reconcile(output)
    assert {path: path.read_bytes() for path in Path(output.output).rglob("*.parquet")} == before


def test_a_damaged_file_that_ends_whole_is_named_and_kept(output):
    path = Path(output.labels, "c-0.parquet")
    data = path.read_bytes()
    path.write_bytes(bytes(len(data) - 8) + data[-8:])
    with pytest.raises(UserError, match=r"c-0\.parquet can't be read"):
        reconcile(output)
    assert path.exists()


def test_failed_rows_are_taken_out_of_labels_and_checkpoint(output):
    write_rows(output, "b", ids("3"), "failed", "timeout")
    write_rows(output, "c", ids("456"), "failed", "not_media")
    assert remove_failed(output, TRANSIENT_REASONS) == 1
    assert reconcile(output) == 5
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("12456")
    assert remove_failed(output) == 3
    assert reconcile(output) == 2
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("12")


def test_rows_beside_a_failed_one_stay_with_their_metadata(output):
    table = pa.table({"span_id": ids("456"), "status": ["labeled", "failed", "filtered"], "reason": ["", "crash", "x"]})
    path = Path(output.labels, "c-0.parquet")
    pq.write_table(table.replace_schema_metadata({"recipe": "mine"}), path)
    assert remove_failed(output, TRANSIENT_REASONS) == 1
    left = pq.read_table(path)
    assert left["span_id"].to_pylist() == ids("46")
    assert left.schema.metadata[b"recipe"] == b"mine"
    assert not list(Path(output.labels).glob("*.tmp"))


def test_failed_rows_in_every_file_take_less_memory_than_the_table(tmp_path, monkeypatch):
    folders, n_files, rng = OutputFolders(str(tmp_path)), 16, np.random.default_rng(0)
    for number in range(n_files):
        rows = {"span_id": ids("1234"), "status": ["labeled", "filtered", "labeled", "failed"], "reason": [""] * 4}
        path = write_rows(folders, f"f{number}", ids("1234"))
        pq.write_table(pa.table(rows | {"audio": [rng.bytes(1 << 20) for _ in range(4)]}), path)
    held, held_before, replace_parquet = [], pa.total_allocated_bytes(), resume.replace_parquet

    def watched(*arguments):
        held.append(pa.total_allocated_bytes() - held_before)
        replace_parquet(*arguments)

    monkeypatch.setattr(resume, "replace_parquet", watched)
    assert remove_failed(folders) == len(held) == n_files
    assert max(held) < n_files << 22  # less than the sound of all files
    assert len(ids_in(folders.labels)) == 3 * n_files


def test_spans_with_several_rows_keep_the_first_of_them(output):
    for stem, span_ids in (("d", ids("133")), ("e", ids("16")), ("f", ids("378"))):
        write_rows(output, stem, span_ids)
        write_ids(output, stem, span_ids)
    assert remove_doubles(output) == 6
    assert reconcile(output) == 8
    assert ids_in(output.checkpoint) == ids_in(output.labels) == ids("12345678")
    assert not {path.name for path in Path(output.labels).glob("*")} & {"d-0.parquet", "e-0.parquet"}
    assert remove_doubles(output) == 0


def test_rows_are_counted_by_outcome_and_spans_once(output):
    write_rows(output, "b", ids("3"), "failed", "timeout")
    write_rows(output, "d", ids("17"), "filtered", "no_face")
    expected = {("labeled", ""): 5, ("failed", "timeout"): 1, ("filtered", "no_face"): 2}
    assert count_outcomes(output) == (expected, 7)


def test_ids_are_told_apart_by_their_last_digit(output):
    write_rows(output, "d", [f"{0:031}{digit}" for digit in "0012"])
    assert count_outcomes(output) == ({("labeled", ""): 10}, 9)
    assert remove_doubles(output) == 1
