"""Folders in a known format, of any set: audiofolder, audformat, EmoBox."""

import json
import logging
import os
import sys

import pytest
from small_sets import fill, refusal

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.recordings import input_roots, list_recordings


def facts(labeled, root):
    return [
        (os.path.relpath(one.uri, root), one.label, one.speaker, one.sex, one.text, one.split)
        for one in labeled.utterances
    ]


class TestAudiofolder:
    def test_a_list_at_the_top(self, tmp_path):
        root = fill(tmp_path / "calls", "a.wav", "sub/b.flac")
        (root / "metadata.csv").write_text(
            "file_name,emotion,speaker_id,gender,transcription,arousal,tags\n"
            "a.wav,happy,007,female,Hello there,3.5,x\nsub/b.flac,sad,8,other,,,y\nc.wav,,9,,,,\n"
        )
        labeled = read_labeled_set(f"audiofolder:{root}", attributes=["arousal"])
        assert labeled.name == "calls"
        assert labeled.labels == ("happy", "sad")
        assert facts(labeled, root) == [
            ("a.wav", "happy", "007", "woman", "Hello there", ""),
            ("sub/b.flac", "sad", "8", "", "", ""),
        ]
        assert [one.attributes for one in labeled.utterances] == [(("arousal", 3.5),), ()]
        assert labeled.skipped == {"without a label": 1}

    def test_what_is_listed_twice_is_planned_once(self, tmp_path):
        root = fill(tmp_path / "calls", "a.wav", "b.wav")
        (root / "metadata.csv").write_text("file_name,label,speaker\na.wav,happy,7\nb.wav,sad,8\n")
        (root / "metadata.jsonl").write_text('{"file_name": "a.wav", "label": "happy", "speaker": "7"}\n')
        listing = list_recordings(f"audiofolder:{root}", needs_video=False)
        assert [os.path.basename(one.uri) for one in listing.recordings] == ["a.wav", "b.wav"]
        assert listing.duplicates == 1

    def test_json_lines_in_the_folders_of_a_split(self, tmp_path):
        parts = {"train": [("a", 1), ("b", 2)], "validation": [("c", 3)], "test": [("d", 4), ("e", 2)]}
        for part, rows in parts.items():
            lines = [{"file_name": f"{one}.wav", "label": "xy"[k % 2], "speaker": k, "n": [1]} for one, k in rows]
            (fill(tmp_path, f"data/{part}/metadata.jsonl") / f"data/{part}/metadata.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in lines)
            )
        labeled = read_labeled_set(f"audiofolder:{tmp_path}")
        assert [(path, speaker, split) for path, _, speaker, *_, split in facts(labeled, tmp_path)] == [
            ("data/test/d.wav", "4", "test"),
            ("data/test/e.wav", "2 (test)", "test"),
            ("data/train/a.wav", "1", "train"),
            ("data/train/b.wav", "2 (train)", "train"),
            ("data/validation/c.wav", "3", "validation"),
        ]
        (fold,) = folds_of(labeled)
        assert (fold.train, fold.validation, fold.test) == ({"1", "2 (train)"}, {"3"}, {"4", "2 (test)"})

    def test_a_folder_called_train_alone_is_no_split(self, tmp_path):
        rows = "".join(f"{k}.wav,{'xy'[k % 2]},{k}\n" for k in range(10))
        (fill(tmp_path, "train/metadata.csv") / "train/metadata.csv").write_text("file_name,label,speaker\n" + rows)
        assert len(folds_of(read_labeled_set(f"audiofolder:{tmp_path}"))) == 5

    def test_a_split_without_validation_draws_it_from_the_training_speakers(self, tmp_path):
        rows = "".join(f"{'test' if k > 7 else 'train'}/{k}.wav,{'xy'[k % 2]},{k}\n" for k in range(10))
        (fill(tmp_path, "metadata.csv") / "metadata.csv").write_text("file_name,label,speaker\nz.wav,x,1\n" + rows)
        labeled = read_labeled_set(f"audiofolder:{tmp_path}")
        (fold,) = folds_of(labeled)
        assert fold.test == {"8", "9"}
        assert len(fold.validation) == 2
        assert labeled.skipped == {"outside of the split": 1}

    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            ("list.csv", "file_name,label,speaker\n", "has none of metadata.csv, metadata.jsonl"),
            (
                "metadata.csv",
                "file_name,text\na.wav,x\n",
                "no column 'label' or 'emotion' and no column 'speaker'",
            ),
            ("metadata.csv", "name,label,speaker\na.wav,x,1\n", "no column 'file_name'"),
            ("metadata.jsonl", "{", "can't be read"),
            ("metadata.csv", "file_name,label,speaker\na.wav,,1\n", "but 1 without a label"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, name, text, words):
        (fill(tmp_path, name) / name).write_text(text)
        assert words in refusal(f"audiofolder:{tmp_path}")


def write_database(root, splits=True):
    """Two tables of emotion, one of them with segments; sexes are in a table of speakers."""
    audformat = pytest.importorskip("audformat")
    import pandas as pd

    db = audformat.Database("acted")
    db.splits["mine"] = audformat.Split("train")
    db.splits["yours"] = audformat.Split("test")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    db.schemes["gender"] = audformat.Scheme(labels=["male", "female"])
    db["speaker"] = audformat.MiscTable(pd.Index([3, 8], name="speaker", dtype="int"))
    db["speaker"]["gender"] = audformat.Column(scheme_id="gender")
    db["speaker"]["gender"].set(["male", "female"])
    db.schemes["speaker"] = audformat.Scheme("int", labels="speaker")
    db.schemes["transcription"] = audformat.Scheme("str", labels={"a01": "Der Lappen"})
    db.schemes["arousal"] = audformat.Scheme("float")
    db["files"] = audformat.Table(audformat.filewise_index(["wav/a.wav", "wav/b.wav", "wav/c.wav", "wav/d.wav"]))
    for name, values in {"speaker": [3, 8, 8, None], "transcription": ["a01", None, None, None]}.items():
        db["files"][name] = audformat.Column(scheme_id=name)
        db["files"][name].set(values)
    whole = audformat.filewise_index(["wav/a.wav", "wav/b.wav", "wav/d.wav"])
    parts = audformat.segmented_index(["wav/c.wav"] * 2, ["0s", "1s"], ["1s", pd.NaT])
    for name, index, split, labels in (
        ("one", whole, "mine", ["anger", "joy", "joy"]),
        ("two", parts, "yours", ["joy", None]),
    ):
        db[name] = audformat.Table(index, split_id=split if splits else None)
        db[name]["emotion"] = audformat.Column(scheme_id="emotion")
        db[name]["emotion"].set(labels)
    db["two"]["arousal"] = audformat.Column(scheme_id="arousal")
    db["two"]["arousal"].set([0.3, 0.4])
    db.save(root)
    return root


class TestAudformat:
    def test_emotion_speaker_and_what_goes_with_them(self, tmp_path):
        root = write_database(tmp_path, splits=False)
        labeled = read_labeled_set(f"audformat:{root}", attributes=["arousal"])
        assert labeled.name == "acted"
        assert facts(labeled, root) == [
            ("wav/a.wav", "anger", "3", "man", "Der Lappen", ""),
            ("wav/b.wav", "joy", "8", "woman", "", ""),
            ("wav/c.wav", "joy", "8", "woman", "", ""),
        ]
        assert [(one.segment, one.attributes) for one in labeled.utterances] == [
            ((0.0, None), ()),
            ((0.0, None), ()),
            ((0.0, 1.0), (("arousal", 0.3),)),
        ]
        assert labeled.skipped == {"without an emotion": 1, "without a speaker": 1}

    def test_its_segments_are_recordings_to_label(self, tmp_path):
        listing = list_recordings(
            f"audformat:{fill(write_database(tmp_path, splits=False), 'wav/c.wav')}", needs_video=False
        )
        assert listing.extra_schema.names[:2] == ["segment_start_s", "segment_end_s"]
        assert [one.segment for one in listing.recordings] == [(0.0, None), (0.0, None), (0.0, 1.0)]

    def test_its_split(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            labeled = read_labeled_set(f"audformat:{write_database(tmp_path)}")
        assert [(one.speaker, one.split) for one in labeled.utterances] == [
            ("3", "train"),
            ("8 (train)", "train"),
            ("8 (test)", "test"),
        ]
        assert "acted: 1 of 2 speakers are in several parts" in caplog.text

    def test_what_could_run_code_is_not_read(self, tmp_path):
        root = write_database(tmp_path)
        for name in os.listdir(root):
            if name.endswith(".parquet"):
                (root / name).with_suffix(".pkl").write_bytes(b"no pickle")
        assert read_labeled_set(f"audformat:{root}").utterances
        with (root / "db.yaml").open("a") as header:
            header.write(f"evil: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
        assert "can't be read as an audformat database" in refusal(f"audformat:{root}")
        assert not (tmp_path / "made").exists()

    def test_a_database_without_emotions(self, tmp_path):
        audformat = pytest.importorskip("audformat")
        db = audformat.Database("words")
        db.schemes["word"] = audformat.Scheme("str")
        db.save(tmp_path)
        words = refusal(f"audformat:{tmp_path}")
        assert "has no recording with an emotion and a speaker" in words
        assert "It has the schemes word" in words


def test_an_audformat_database_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "audformat", None)
    (tmp_path / "db.yaml").write_text("name: x\n")
    assert "pip install 'liser-ray[audformat]'" in refusal(f"audformat:{tmp_path}")
    assert "has no db.yaml" in refusal(f"audformat:{fill(tmp_path, 'below/a.wav')}/below")


def write_folds(root, name, folds, label_map, folder="", **more):
    """EmoBox' files of a set: of each fold its parts, each a list of paths and emotions."""
    data = root / "data" / name
    for number, parts in enumerate(folds, 1):
        for part, rows in parts.items():
            for form in ("json", "jsonl"):
                path = data / f"fold_{number}/{name}_{part}_fold_{number}.{form}"
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [
                    {"key": wav, "dataset": name, "wav": f"downloads/{name}/{folder}{wav}", "emo": emo, "channel": 1}
                    | more
                    for wav, emo in rows
                ]
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (data / "label_map.json").write_text(json.dumps(label_map))
    return data


def cross_validation(groups):
    every = [row for group in groups for row in group]
    return [{"train": [row for row in every if row not in group], "test": group} for group in groups]


def test_an_audiofolder_and_a_database_on_s3(s3_store, tmp_path):
    bucket = s3_store.bucket()
    rows = '{"file_name": "a.wav", "label": "x", "speaker": 1}\n{"file_name": "b.wav", "label": "y", "speaker": 2}\n'
    s3_store.client.put_object(Bucket=bucket, Key="calls/train/metadata.jsonl", Body=rows.encode())
    s3_store.client.put_object(Bucket=bucket, Key="calls/test/metadata.jsonl", Body=rows.encode())
    labeled = read_labeled_set(f"audiofolder:s3://{bucket}/calls")
    assert [(one.uri, one.split) for one in labeled.utterances[:2]] == [
        (f"s3://{bucket}/calls/test/a.wav", "test"),
        (f"s3://{bucket}/calls/test/b.wav", "test"),
    ]
    for name in os.listdir(write_database(tmp_path)):
        s3_store.client.put_object(Bucket=bucket, Key=f"db/{name}", Body=(tmp_path / name).read_bytes())
    database = read_labeled_set(f"audformat:s3://{bucket}/db")
    assert database.utterances[0].uri == f"s3://{bucket}/db/wav/a.wav"


class TestEmobox:
    def test_folds_of_a_set_that_is_known_here(self, tmp_path):
        """Labels, speakers, sexes and words are as `ravdess:` has them."""
        names = [f"03-01-0{3 + actor % 2}-01-02-01-{actor:02}.wav" for actor in range(1, 7)]
        rows = [[(f"Actor_{name[-6:-4]}/{name}", "Happy") for name in names[k : k + 2]] for k in (0, 2, 4)]
        data = write_folds(tmp_path, "ravdess", cross_validation(rows), {"Happy": "Happy"}, "audio/")
        audio = tmp_path / "downloads/ravdess/audio"
        fill(audio, *(f"Actor_{name[-6:-4]}/{name}" for name in names[:-1]), "Actor_09/03-01-03-01-02-01-09.wav")
        labeled = read_labeled_set(f"emobox:{data}")
        assert (labeled.name, len(labeled.labels)) == ("ravdess", 8)
        assert [(one.speaker, one.sex, one.label, one.fold) for one in labeled.utterances] == [
            ("1", "man", "sad", 0),
            ("2", "woman", "happy", 0),
            ("3", "man", "sad", 1),
            ("4", "woman", "happy", 1),
            ("5", "man", "sad", 2),
        ]
        assert labeled.skipped == {"in no fold of EmoBox": 1, "in EmoBox' folds, but not here": 1}
        listing = list_recordings(f"emobox:{data}", roots=input_roots(f"emobox:{data}", "", []), needs_video=False)
        assert {one.problem for one in listing.recordings} == {None}
        assert [fold.test for fold in folds_of(labeled)] == [{"1", "2"}, {"3", "4"}, {"5"}]

    def test_folds_of_recordings_say_so(self, tmp_path, caplog):
        """As those of EMO-DB, each of whose folds has all speakers."""
        groups = [[("wav/03a01Fa.wav", "happy"), ("wav/08a01Wa.wav", "anger")], [("wav/03a02Wb.wav", "anger")]]
        data = write_folds(tmp_path, "emodb", cross_validation(groups), {})
        fill(tmp_path / "downloads/emodb", *(wav for group in groups for wav, _ in group))
        labeled = read_labeled_set(f"emobox:{data}")
        assert {one.speaker for one in labeled.utterances} == {"3 (fold 0)", "3 (fold 1)", "8"}
        assert "emodb: 1 of 2 speakers are in several parts" in caplog.text
        assert [fold.test for fold in folds_of(labeled)] == [{"3 (fold 0)", "8"}, {"3 (fold 1)"}]

    def test_any_other_set_has_a_speaker_for_each_fold(self, tmp_path):
        groups = [[(f"{k}/{emo}.wav", emo) for emo in ("angry", "fear")] for k in range(4)]
        data = write_folds(tmp_path, "casia", cross_validation(groups), {"angry": "Angry", "fear": "Fear"})
        fill(tmp_path / "downloads/casia", *(wav for group in groups for wav, _ in group))
        labeled = read_labeled_set(f"emobox:{data}")
        assert (labeled.name, labeled.labels) == ("casia", ("Angry", "Fear"))
        assert labeled.speakers == ("fold 1", "fold 2", "fold 3", "fold 4")
        assert [(fold.index, fold.test, len(fold.validation)) for fold in folds_of(labeled)] == [
            (k, {f"fold {k + 1}"}, 1) for k in range(4)
        ]

    def test_one_fold_is_a_split(self, tmp_path):
        parts = {"train": [("a.wav", "x"), ("b.wav", "y")], "valid": [("c.wav", "x")], "test": [("d.wav", "y")]}
        data = write_folds(tmp_path, "mer2023", [parts], {"x": "X", "y": "Y"})
        fill(tmp_path / "downloads/mer2023", "a.wav", "b.wav", "c.wav", "d.wav")
        (fold,) = folds_of(read_labeled_set(f"emobox:{data}"))
        assert (fold.train, fold.validation, fold.test) == ({"train"}, {"validation"}, {"test"})

    def test_segments_of_a_file(self, tmp_path):
        parts = {"train": [("a.wav", "x"), ("b.wav", "y")], "test": [("c.wav", "y")]}
        data = write_folds(tmp_path, "pavoque", [parts], {}, start_time=0.5, end_time=2.25)
        fill(tmp_path / "downloads/pavoque", "a.wav", "b.wav", "c.wav")
        assert {one.segment for one in read_labeled_set(f"emobox:{data}").utterances} == {(0.5, 2.25)}

    @pytest.mark.parametrize(
        ("name", "words"),
        [("meld", "Give meld:FOLDER"), ("msppodcast", "Give msppodcast:FOLDER"), ("casia", "is where EmoBox says")],
    )
    def test_says_what_is_wrong(self, tmp_path, name, words):
        data = write_folds(tmp_path, name, cross_validation([[("a.wav", "x")], [("b.wav", "y")]]), {})
        fill(tmp_path / f"downloads/{name}", "z.wav")
        assert words in refusal(f"emobox:{data}")

    def test_a_folder_that_holds_no_folds_or_those_of_several_sets(self, tmp_path):
        for name in ("casia", "cafe"):
            write_folds(tmp_path, name, cross_validation([[("a.wav", "x")], [("b.wav", "y")]]), {})
        assert "no folds of EmoBox of one set, but of cafe, casia" in refusal(f"emobox:{tmp_path / 'data'}")
        assert "holds no folds of EmoBox. Give" in refusal(f"emobox:{fill(tmp_path, 'new/a.wav')}/new")

    def test_a_line_that_is_none(self, tmp_path):
        data = write_folds(tmp_path, "casia", cross_validation([[("a.wav", "x")], [("b.wav", "y")]]), {})
        (data / "fold_2/casia_test_fold_2.jsonl").write_text('{"wav": "a.wav"}\n')
        assert "line 1 is none of EmoBox'" in refusal(f"emobox:{data}")
        for fold in (1, 2):
            (data / f"fold_{fold}/casia_test_fold_{fold}.jsonl").write_text("")
        assert "of what is tested are empty" in refusal(f"emobox:{data}")
