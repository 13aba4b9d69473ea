from liser_ray.storage.files import delete_folder


def test_a_folder_goes_with_all_that_is_in_it_and_none_is_no_error(tmp_path):
    (tmp_path / "training/run").mkdir(parents=True)
    (tmp_path / "training/run/state").touch()
    for _ in range(2):
        delete_folder(str(tmp_path / "training"))
        assert not (tmp_path / "training").exists()
    assert tmp_path.exists()
