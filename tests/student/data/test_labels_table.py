import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from small_labels import FACE, SPEECH_LABELS, TARGETS, speech_target, write_labels

from liser_ray.corpora.folds import Fold
from liser_ray.labeling.schema import SCHEMA_VERSION
from liser_ray.runtime.errors import UserError
from liser_ray.student.data.labels_table import choose_target, open_labels_table, read_rows, windows_of
from liser_ray.teachers.targets import HeldOut, Target

FOLD = Fold(0, train=frozenset("1234"), validation=frozenset("56"), test=frozenset("78"))


class TestOpen:
    def test_labeled_rows_are_counted_and_the_others_passed_over(self, tmp_path):
        labeled = write_labels(tmp_path / "out" / "labels", rows=50, files=3, rows_per_group=6)
        table = open_labels_table(str(tmp_path / "out"))
        assert table.uri == str(tmp_path / "out" / "labels")
        assert 0 < len(labeled) < 50
        assert table.n_rows == len(labeled)
        assert table.seconds == pytest.approx(sum(row["seconds"] for row in labeled))
        assert table.targets == {target.name: target for target in TARGETS}
        assert table.scales == {}

    def test_groups_without_labeled_rows_are_left_out(self, tmp_path):
        for number, statuses in enumerate([(1, 0, 0), (0, 0.5, 0.5), (0.5, 0.5, 0)]):
            write_labels(tmp_path / str(number), rows=20, seed=number, files=1, rows_per_group=5, statuses=statuses)
        table = open_labels_table(str(tmp_path))
        first = [group for group in table.groups if "/0/" in group.path]
        assert [(group.number, group.n_rows) for group in first] == [(0, 5), (1, 5), (2, 5), (3, 5)]
        assert not [group for group in table.groups if "/1/" in group.path]
        assert min(table.group_sizes) > 0

    def test_rows_come_back_as_they_were_written(self, tmp_path):
        labeled = write_labels(tmp_path, rows=30, files=2, rows_per_group=7)
        table = open_labels_table(str(tmp_path))
        columns = ["end_s", "targets.face.values", "targets.face.valid"]
        read = [pa.concat_tables(read_rows(table, group, columns, 3)) for group in table.groups]
        assert [len(rows) for rows in read] == table.group_sizes.tolist()
        rows = pa.concat_tables(read)
        assert rows["end_s"].to_pylist() == [row["seconds"] for row in labeled]
        values, n_windows, valid = windows_of(rows, "face")
        np.testing.assert_array_equal(values, np.concatenate([row["values"]["face"] for row in labeled]))
        np.testing.assert_array_equal(valid, np.concatenate([row["valid"]["face"] for row in labeled]))
        assert n_windows.tolist() == [len(row["valid"]["face"]) for row in labeled]

    def test_scalars_are_measured(self, tmp_path):
        energy = Target("energy", "scalar", ("dB",), 1.0, 1.0, "2" * 64, "energy")
        written = write_labels(tmp_path, rows=30, files=3, rows_per_group=4, targets=(*TARGETS, energy))
        values = np.concatenate([row["values"]["energy"] for row in written])
        assert open_labels_table(str(tmp_path)).scales == {"energy": pytest.approx((values.mean(), values.std()))}

    def test_one_whose_job_has_not_ended_is_warned_of(self, tmp_path, caplog):
        for planned, warned in ((6, 0), (20, 1)):
            folder = tmp_path / str(planned)
            write_labels(folder / "labels", rows=6)
            (folder / "plan.json").write_text(json.dumps({"spans": planned}))
            for _ in range(2):
                open_labels_table(str(folder))
            assert caplog.text.count("has 6 of 20 rows: its job has not come to its end") == warned

    def test_on_s3(self, tmp_path, s3_store):
        labeled = write_labels(tmp_path, rows=8, files=1)
        bucket = s3_store.bucket()
        s3_store.client.upload_file(str(tmp_path / "part-000.parquet"), bucket, "lab/labels/part-000.parquet")
        table = open_labels_table(f"s3://{bucket}/lab")
        assert table.n_rows == len(labeled)
        assert table.sha256 == open_labels_table(str(tmp_path)).sha256
        assert len(next(read_rows(table, table.groups[0], ["audio"], 100))) == table.groups[0].n_rows


class TestContentHash:
    ROWS = 24

    @pytest.fixture
    def whole(self, tmp_path):
        write_labels(tmp_path / "whole", rows=self.ROWS, files=1, rows_per_group=self.ROWS)
        return pq.read_table(tmp_path / "whole/part-000.parquet")

    def sha256(self, folder, *parts, rows_per_group=100):
        folder.mkdir()
        for number, part in enumerate(parts):
            pq.write_table(part, folder / f"{number}.parquet", row_group_size=rows_per_group)
        return open_labels_table(str(folder)).sha256

    def test_it_is_that_of_the_rows_however_they_lie_in_files(self, tmp_path, whole):
        one = self.sha256(tmp_path / "one", whole)
        backwards = whole.take(list(reversed(range(self.ROWS))))
        assert self.sha256(tmp_path / "split", whole[:5], whole[5:], rows_per_group=3) == one
        assert self.sha256(tmp_path / "backwards", backwards[:20], backwards[20:]) == one
        assert self.sha256(tmp_path / "labeled", whole.filter(pc.field("status") == "labeled")) == one

    def test_it_changes_with_a_row_and_with_the_recipe(self, tmp_path, whole):
        one = self.sha256(tmp_path / "one", whole)
        first = whole["status"].to_pylist().index("labeled")
        fewer = pa.concat_tables([whole[:first], whole[first + 1 :]])
        index = whole.schema.get_field_index("content_hash")
        hashes = whole["content_hash"].to_pylist()
        hashes[first] = "f" * 63 + ("0" if hashes[first].endswith("1") else "1")
        changed = whole.set_column(index, whole.schema.field(index), pa.array(hashes))
        twice = pa.concat_tables([whole, whole[first : first + 1]])
        recipe = whole.schema.metadata[b"liser_ray.recipe"].replace(b'"0000', b'"1111', 1)
        other = whole.replace_schema_metadata({"liser_ray.recipe": recipe})
        others = [self.sha256(tmp_path / str(n), table) for n, table in enumerate((fewer, changed, twice, other))]
        assert len({one, *others}) == 5


class TestRefused:
    @pytest.mark.parametrize("made", [True, False])
    def test_no_files(self, tmp_path, made):
        folder = tmp_path / "empty"
        if made:
            folder.mkdir()
        with pytest.raises(UserError, match="no Parquet files"):
            open_labels_table(str(folder))

    def test_a_plan_alone(self, tmp_path):
        write_labels(tmp_path / "plan")
        with pytest.raises(UserError, match="no labels yet"):
            open_labels_table(str(tmp_path))

    @pytest.mark.parametrize(
        "columns",
        [
            {"x": [1]},
            {"status": [1], "content_hash": [2]},
            {"start_s": [0.0], "end_s": [1.0], "status": ["labeled"]},  # the plan of a job that was stopped
            None,
        ],
    )
    def test_files_of_others(self, tmp_path, columns):
        if columns:
            pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        else:
            (tmp_path / "x.parquet").write_bytes(b"not Parquet at all")
        with pytest.raises(UserError, match=r"x\.parquet is not a file of a labels table"):
            open_labels_table(str(tmp_path))

    def test_nothing_labeled(self, tmp_path):
        write_labels(tmp_path, rows=12, statuses=(0, 0.5, 0.5))
        with pytest.raises(UserError, match="no labeled row among its 12"):
            open_labels_table(str(tmp_path))

    def test_two_jobs_in_one_folder(self, tmp_path):
        write_labels(tmp_path / "a", rows=4)
        write_labels(tmp_path / "b", rows=4, targets=(speech_target("fold-1", fold=1),))
        with pytest.raises(UserError, match="of two labeling jobs"):
            open_labels_table(str(tmp_path))

    def test_tables_of_other_versions(self, tmp_path):
        write_labels(tmp_path, rows=4, version=1)
        with pytest.raises(UserError, match=f"no labels table of version {SCHEMA_VERSION}, but of 1: label its"):
            open_labels_table(str(tmp_path))

    def test_without_a_recipe(self, tmp_path):
        write_labels(tmp_path, rows=4, files=1)
        path = tmp_path / "part-000.parquet"
        pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
        with pytest.raises(UserError, match="without a recipe"):
            open_labels_table(str(tmp_path))


def choose(table, name="speech", labels=SPEECH_LABELS, trusted=("face",)):
    return choose_target(table, name, "ravdess", {"ravdess": labels}, FOLD, trusted)


class TestChooseTarget:
    @pytest.fixture
    def table_of(self, tmp_path):
        def table(*targets):
            write_labels(tmp_path, rows=2, files=1, statuses=(1, 0, 0), targets=targets)
            return open_labels_table(str(tmp_path))

        return table

    def test_by_its_name_or_by_the_fold_of_its_teacher(self, table_of):
        other = speech_target("other", fold=1, heard=("5", "7"))
        table = table_of(other, speech_target("one_for_all", heard=("1",)), speech_target("x", teacher="hubert"))
        assert choose(table, "one_for_all") == choose(table)
        assert choose(table, "hubert").name == "x"
        with pytest.raises(UserError, match=r"no target self: there are other, one_for_all, x"):
            choose(table, "self")

    def test_there_is_none_of_the_fold_or_of_the_set(self, table_of):
        table = table_of(speech_target("fold_1", fold=1), speech_target("fold_0", labeled="cremad", heard=("7", "8")))
        with pytest.raises(UserError, match="no target by a teacher speech of ravdess fold 0, only fold_1, fold_0"):
            choose(table)
        assert choose(table, "fold_0").name == "fold_0"  # it has heard others with the same names

    def test_of_joined_sets_each_sets_own_teacher_may_teach_with_the_labels_of_that_set(self, table_of):
        named = {"ravdess/1": "1", "ravdess/5": "5", "ravdess/7": "7", "cremad/1": "1", "cremad/7": "7"}
        fold = Fold(0, frozenset(list(named)[:1]), frozenset(["ravdess/5", "cremad/1"]), frozenset(["ravdess/7"]))
        labels = {"ravdess+cremad": ("a", "b", "c"), "ravdess": ("a", "b"), "cremad": ("B", "c")}
        joined = ("speech", "ravdess+cremad", labels, fold, ())

        def tuned(labeled, labels, heard, fold=0):
            return table_of(speech_target(f"{labeled[:3]}_{fold}", labels, fold, heard, labeled))

        for table in (
            tuned("ravdess", ("b", "a"), ("1", "17")),
            tuned("ravdess+cremad", ("a", "b", "c"), ("ravdess/1", "cremad/9")),
        ):
            assert choose_target(table, *joined) in table.targets.values()
        with pytest.raises(UserError, match="knows the labels a, b, c, but ravdess has a, b"):
            choose_target(tuned("ravdess", ("a", "b", "c"), ("1",)), *joined)
        with pytest.raises(UserError, match=r"no target by a teacher speech of ravdess\+cremad fold 0"):
            choose_target(tuned("ravdess", ("a", "b"), ("1",), fold=1), *joined)

    def test_who_heard_a_scored_speaker_of_any_of_the_joined_sets_is_refused(self, table_of):
        fold = Fold(0, frozenset(["ravdess/1", "cremad/5"]), frozenset(["ravdess/5"]), frozenset(["cremad/1"]))
        labels = {"ravdess+cremad": SPEECH_LABELS, "ravdess": SPEECH_LABELS, "cremad": SPEECH_LABELS}

        def teach(labeled, heard, student="ravdess+cremad", fold=fold):
            table = table_of(speech_target("told", heard=heard, labeled=labeled))
            return choose_target(table, "told", student, labels, fold, ("told",))

        alone = Fold(0, frozenset("1"), frozenset(), frozenset("5"))
        for given in (
            ("ravdess", ("1",)),
            ("cremad", ("5",)),
            ("mine", ("1", "5")),
            ("ravdess+cremad", ("ravdess/1", "cremad/5")),
            ("ravdess+mine", ("ravdess/1", "mine/5"), "ravdess", alone),
        ):
            assert teach(*given).tuned_on.labeled == given[0]
        for *given, named in (
            ("ravdess", ("1", "5"), "speakers 5 of ravdess"),
            ("cremad", ("1", "5"), "speakers 1 of cremad"),
            ("ravdess+cremad", ("ravdess/1", "cremad/1"), r"speakers cremad/1 of ravdess\+cremad"),
            ("cremad+mine", ("cremad/1", "mine/2"), r"speakers cremad/1 of cremad\+mine"),
            ("ravdess+mine", ("ravdess/5", "mine/1"), "ravdess", alone, r"speakers ravdess/5 of ravdess\+mine"),
        ):
            with pytest.raises(UserError, match=f"was tuned on {named}"):
                teach(*given)
        with pytest.raises(UserError, match="has heard 01, 05 of cremad, which has no such speakers, but cremad/1"):
            teach("cremad", ("01", "05"))

    def test_several_of_a_fold_are_several_teachers(self, table_of):
        names = ("hubert_fold_0", "self_fold_0")
        table = table_of(*(speech_target(name, fold=0) for name in names))
        with pytest.raises(UserError, match="several targets by a teacher speech of ravdess fold 0: hubert_fold_0"):
            choose(table)
        table = table_of(*(speech_target(name, fold=0, teacher=name.partition("_")[0]) for name in names))
        assert choose(table, "self").name == "self_fold_0"

    def test_where_the_teachers_set_trains_whole_any_of_its_teachers_may_teach(self, table_of):
        """Of joined sets one has fewer folds."""
        labels = {"ravdess+mine": SPEECH_LABELS, "ravdess": SPEECH_LABELS, "mine": SPEECH_LABELS}
        fold = Fold(7, frozenset(["ravdess/1", "ravdess/5", "mine/2"]), frozenset(["mine/3"]), frozenset(["mine/4"]))
        better = replace(speech_target("fold_1", fold=1, heard=("5",)), held_out=HeldOut(0.7, None))
        table = table_of(speech_target("fold_0", heard=("1",)), better)
        assert choose_target(table, "speech", "ravdess+mine", labels, fold, ()).name == "fold_1"
        with pytest.raises(UserError, match="no target by a teacher speech"):
            choose_target(table, "speech", "ravdess+mine", labels, replace(fold, test=frozenset(["ravdess/6"])), ())

    def test_teachers_say_labels_in_lower_case_whatever_the_set_does(self, table_of):
        table = table_of(speech_target("fold_0", heard=("1",)))
        capital = tuple(label.title() for label in SPEECH_LABELS)
        assert sorted(choose(table, labels=capital).labels) == sorted(capital)

    def test_labels_may_come_in_another_order_but_not_be_others(self, table_of):
        table = table_of(speech_target("fold_0"))
        assert choose(table, labels=tuple(reversed(SPEECH_LABELS))).labels == SPEECH_LABELS
        for labels in (SPEECH_LABELS[:3], (*SPEECH_LABELS[:3], "calm")):
            with pytest.raises(UserError, match=f"knows the labels {', '.join(SPEECH_LABELS)}, but ravdess has"):
                choose(table, labels=labels)

    @pytest.mark.parametrize("kind", ["distribution", "scalar"])
    @pytest.mark.parametrize(("heard", "named"), [("128", "8"), ("5", "5"), ("1678", "6, 7, 8")])
    def test_who_heard_those_the_student_is_scored_on_is_refused_with_their_names(self, table_of, heard, named, kind):
        labels = SPEECH_LABELS if kind == "distribution" else ("arousal",)
        table = table_of(replace(speech_target("fold_0", labels, heard=tuple(heard)), kind=kind))
        for name in ("speech", "fold_0"):
            with pytest.raises(UserError, match=f"was tuned on speakers {named} of ravdess"):
                choose(table, name, trusted=("speech", "fold_0"))

    def test_who_does_not_say_whom_it_has_heard_is_refused_unless_trusted(self, table_of):
        table = table_of(FACE, speech_target("foreign", fold=None))
        assert choose(table, "face") == FACE
        with pytest.raises(UserError, match=r"does not say whom it has heard.* --trusted face foreign"):
            choose(table, "foreign")
        assert choose(table, "foreign", trusted=("foreign",)).tuned_on is None
