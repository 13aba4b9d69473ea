import pytest

from liser_ray.errors import UserError
from liser_ray.storage.files import check_writable, delete_folder


def test_a_folder_goes_with_all_that_is_in_it_and_none_is_no_error(tmp_path):
    (tmp_path / "training/run").mkdir(parents=True)
    (tmp_path / "training/run/state").touch()
    for _ in range(2):
        delete_folder(str(tmp_path / "training"))
        assert not (tmp_path / "training").exists()
    assert tmp_path.exists()


def test_a_relative_output_of_a_submitted_job_is_refused_since_ray_would_delete_it(tmp_path, monkeypatch):
    unpacked = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_904b30d451a47a66"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    with pytest.raises(UserError, match=r"out/labels lies in the copy of your folder .* absolute path"):
        check_writable("out/labels")
    check_writable(str(tmp_path / "labels"))
