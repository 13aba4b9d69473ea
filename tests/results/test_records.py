import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from small_records import confusion, make_record, random_record

from liser_ray.results.records import read_records, record_from_json, record_to_json
from liser_ray.runtime.errors import UserError

CONTENT = {"settings": {"λ": [0.1, 5], "note": "a [\n 1,\n 2\n] b", "none": [None, True, {}]}, "cpu": "x", "threads": 2}
ONE = record_to_json(make_record({"1": confusion("12/14", "3/4")}))


def refusal(call, *arguments):
    with pytest.raises(UserError) as refused:
        call(*arguments)
    return str(refused.value)


def with_change(**changes):
    return json.dumps(json.loads(record_to_json(random_record())) | changes)


class TestRecord:
    def test_confusions_of_all_folds_by_natural_order_of_speakers(self):
        record = make_record(
            {"10": confusion("1/2", "2/2"), "2": confusion("0/2", "1/2")}, {"3": confusion("2/2", "2/2")}
        )
        assert list(record.confusions) == ["2", "3", "10"]
        np.testing.assert_array_equal(record.confusions["2"], [[0, 2], [1, 1]])

    def test_a_speaker_is_tested_once(self):
        one = confusion("1/2", "2/2")
        said = refusal(make_record, {"1": one, "2": one}, {"2": one})
        assert said.startswith("no-dstl on ravdess with seed 0: speaker 2 of fold 1 is tested in fold 0 as well")

    @pytest.mark.parametrize("counts", [[[0, 0], [0, 0]], [[1, -1], [0, 1]]])
    def test_something_is_counted(self, counts):
        assert "negative counts or none" in refusal(make_record, {"1": np.array(counts)})


class TestJson:
    def test_comes_back_as_it_was(self):
        record = replace(random_record(seed=7, labels=("Freude", "Ärger", "Trauer")), content=CONTENT)
        folds = (replace(record.folds[0], validation_uar=None), *record.folds[1:])
        back = record_from_json(record_to_json(replace(record, folds=folds)), "a.json")
        np.testing.assert_equal(asdict(back), asdict(replace(record, folds=folds)))

    def test_attributes_come_back_and_older_records_have_none(self):
        record = random_record()
        sums = {"arousal": {"1": np.array([2, 3, 3, 5, 5, 5.0]), "2": np.array([1, 3, 2, 9, 4, 6.0])}}
        with_some = replace(record, folds=(replace(record.folds[0], attributes=sums), *record.folds[1:]))
        back = record_from_json(record_to_json(with_some), "a.json")
        np.testing.assert_equal(back.folds[0].attributes, sums)
        # Of (1, 1), (2, 2) and (3, 2), true and said.
        assert back.concordances == {"arousal": pytest.approx(2 * (11 / 3 - 10 / 3) / (2 / 3 + 2 / 9 + 1 / 9))}
        older = json.loads(record_to_json(record))
        for fold in older["folds"]:
            del fold["attributes"]
        assert record_from_json(json.dumps(older), "a.json").concordances == {}

    def test_a_row_of_a_matrix_is_a_line(self):
        assert [line.strip() for line in ONE.splitlines() if "[1" in line] == ["[12, 2],", "[1, 3]"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "a.json is no JSON"),
            ('{"uar": 0.5}', "a.json is no record of a run. Move it out"),
            (with_change(format=2), "a.json has the format 2; this version reads 1. Run that recipe"),
            ('{"format": 1}', "a.json lacks 'recipe'. Delete it and run"),
            (with_change(seed=True), "a.json is damaged: True is no int"),
            (with_change(labels="ab"), "a.json is damaged: ab is no list"),
            (with_change(sexes={"1": "m"}), "the sex of speaker 1 is 'm', not man or woman"),
            (with_change(folds=[[]]), "a.json is damaged: [] is no dict"),
            (with_change(labels=["one"]), "a.json: no-dstl on ravdess with seed 0: speaker 1 of fold 0 has counts"),
            (ONE.replace("[12, 2]", "[12, 0.5]"), "counts float64 [2, 2], not int64"),
            (ONE.replace("[12, 2]", "[12]"), "a.json is damaged"),
        ],
    )
    def test_says_what_is_wrong(self, text, words):
        assert words in refusal(record_from_json, text, "a.json")


class TestFolder:
    def test_all_records_below_a_folder(self, tmp_path):
        for recipe, seed in (("sp-dstl", 0), ("no-dstl", 1), ("no-dstl", 0)):
            path = tmp_path / recipe / f"seed-{seed}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(record_to_json(random_record(recipe=recipe, seed=seed)))
        (tmp_path / "README.md").write_text("not a record")
        found = [(one.recipe, one.seed) for one in read_records(str(tmp_path))]
        assert found == [("no-dstl", 0), ("no-dstl", 1), ("sp-dstl", 0)]

    def test_the_committed_ones_can_be_read(self):
        assert {one.labeled for one in read_records(str(Path(__file__).parents[2] / "results"))} == {"ravdess"}

    def test_a_seed_counts_once(self, tmp_path):
        for name in "ab":
            (tmp_path / f"{name}.json").write_text(record_to_json(random_record()))
        said = refusal(read_records, str(tmp_path))
        assert f"{tmp_path}/a.json and {tmp_path}/b.json are both no-dstl on ravdess with seed 0" in said

    def test_what_can_not_be_read_is_named(self, tmp_path):
        (tmp_path / "a.json").write_bytes(b"\xff\xfe")
        assert f"{tmp_path}/a.json is no JSON" in refusal(read_records, str(tmp_path))
        assert "no records (.json) there. Run" in refusal(read_records, str(tmp_path / "none"))
        assert "Give a folder" in refusal(read_records, str(tmp_path / "a.json"))

    def test_on_s3(self, s3_store):
        bucket = s3_store.bucket()
        s3_store.client.put_object(Bucket=bucket, Key="r/a/x.json", Body=record_to_json(random_record()).encode())
        assert [str(one) for one in read_records(f"s3://{bucket}/r/")] == ["no-dstl on ravdess with seed 0"]
        assert "no records" in refusal(read_records, f"s3://{bucket}/none")
