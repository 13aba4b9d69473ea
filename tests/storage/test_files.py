from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.storage import files
from liser_ray.storage.addresses import absolute, resolve
from liser_ray.storage.files import check_readable, check_writable, delete_folder, exists, replace_parquet


def test_a_folder_goes_with_all_that_is_in_it_and_none_is_no_error(tmp_path):
    (tmp_path / "training/run").mkdir(parents=True)
    (tmp_path / "training/run/state").touch()
    for _ in range(2):
        delete_folder(str(tmp_path / "training"))
        assert not (tmp_path / "training").exists()
    assert tmp_path.exists()


def test_a_file_appears_whole_and_nobody_reads_what_a_killed_process_left(tmp_path, monkeypatch):
    folder, rows = tmp_path / "table", pa.table({"a": [1, 2]})
    replace_parquet(str(folder / "a.parquet"), pafs.LocalFileSystem(), rows)
    read_meanwhile = []

    def cut_off(_, to, **options):
        Path(to).write_bytes(b"half a file")
        read_meanwhile.append(pads.dataset(folder, format="parquet").to_table())
        raise KeyboardInterrupt

    monkeypatch.setattr(files.pq, "write_table", cut_off)
    with pytest.raises(KeyboardInterrupt):
        replace_parquet(str(folder / "a.parquet"), pafs.LocalFileSystem(), rows.slice(1))
    assert read_meanwhile == [rows]
    assert [path.name for path in folder.iterdir()] == ["a.parquet"]
    assert pads.dataset(folder).to_table() == rows


def test_a_relative_output_of_a_submitted_job_is_refused_since_ray_would_delete_it(tmp_path, monkeypatch):
    unpacked = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_904b30d451a47a66"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    with pytest.raises(UserError, match=r"out/labels lies in the copy of your folder .* absolute path"):
        check_writable("out/labels")
    check_writable(str(tmp_path / "labels"))


@pytest.mark.parametrize("name", ["what?", "a?b/labels", "a\nb"])
def test_an_output_that_ray_data_could_not_read_back_is_refused(tmp_path, name):
    for folder in (str(tmp_path), "s3://lab"):
        with pytest.raises(UserError, match=r"has '(\?|\\n)' in its name, and could not be read back"):
            check_writable(f"{folder}/{name}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "whole"), [("s3://lab//labels", "s3://lab/labels"), ("s3://lab/a///b//", "s3://lab/a/b")]
)
def test_an_s3_address_with_an_empty_part_is_refused_with_the_one_to_give(given, whole):
    for use in (absolute, check_readable, check_writable, exists):
        with pytest.raises(UserError) as caught:
            use(given)
        assert str(caught.value) == f"{given} has an empty part (//), with which nothing can be opened. Give {whole}."
    assert absolute(f"{whole}//") == whole
    with pytest.raises(UserError, match="s3:// names no bucket"):
        absolute("s3://")
    assert resolve(given, "/lists") == given  # in a manifest it costs the row, not the job
