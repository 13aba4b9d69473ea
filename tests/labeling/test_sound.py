"""Sound alone, a kind of teacher of one's own, and a table that gets another teacher."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import soundfile
from labeling.tables import rows_of
from small_labels import speech_target, write_labels
from small_teachers import make_recogniser
from talking_heads import voice

from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.job import label_corpus
from liser_ray.labeling.planning import plan_corpus
from liser_ray.labeling.schema import labels_schema
from liser_ray.labeling.table_input import ReopenRows
from liser_ray.media.flac import decode_flac
from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import train_students

pytestmark = pytest.mark.slow

LOUDNESS = {"loudness": {"kind": "toys.loudness"}}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for number, suffix in enumerate(("wav", "flac", "ogg")):
        soundfile.write(folder / f"{number}.{suffix}", voice(4.0, number), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(32_000), 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF and no more")
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def first(sounds, ray_session, tmp_path_factory):
    """The sounds, labeled by the toy alone."""
    return label_corpus(LabelConfig(str(sounds), str(tmp_path_factory.mktemp("first")), teachers=LOUDNESS))


def test_sound_files_are_labeled_without_a_picture(first):
    rows = rows_of(Path(first.folders.labels))
    assert {name: (row["status"], row["reason"]) for (name, _), row in rows.items()} == {
        **dict.fromkeys(("0.wav", "1.flac", "2.ogg"), ("labeled", "")),
        "silent.wav": ("filtered", "no_speech"),
        "broken.wav": ("failed", "not_media"),
    }
    for row in rows.values():
        assert row["face_box"] == []
        if row["status"] == "labeled":
            pcm, loudness = decode_flac(row["audio"]).astype(float) / 32768, row["targets"]["loudness"]
            expected = [[np.sqrt(np.square(pcm[8000 * k : 8000 * (k + 1)]).mean())] for k in range(8)]
            np.testing.assert_allclose(loudness["values"], expected, rtol=1e-4)
            assert 0.5 < np.mean(loudness["valid"]) <= 1


@pytest.fixture(scope="module")
def second(first, teachers, tmp_path_factory):
    """The table of the first job with a teacher more."""
    config = LabelConfig(
        first.folders.output,
        str(tmp_path_factory.mktemp("second")),
        teachers={"speech": teachers.settings["speech"] | {"embedding": True}},
        precision="float32",
    )
    return config, label_corpus(config)


def test_a_table_gets_another_teacher_and_keeps_all_it_has(first, second, teachers, tmp_path):
    config, result = second
    before, after = (rows_of(Path(one.folders.labels)) for one in (first, result))
    assert before.keys() == after.keys()
    for span, row in after.items():
        added = row["targets"].pop("speech_fold_0"), row["targets"].pop("speech_fold_1")
        assert row == before[span]
        for part in ("values", "embedding"):
            assert [len(one[part]) for one in added] == [8 if row["status"] == "labeled" else 0] * 2
    assert label_corpus(config).spans_run == 0
    with pytest.raises(UserError, match="embedding_size"):
        label_corpus(replace(config, teachers={"speech": teachers.settings["speech"]}))
    with pytest.raises(UserError, match=r"two teachers give a target 'loudness'|Two teachers give a target 'loudness'"):
        label_corpus(replace(config, output=str(tmp_path), teachers=LOUDNESS))
    with pytest.raises(UserError, match="it has no pictures"):
        plan_corpus(replace(config, output=str(tmp_path), teachers=["face=s2d:a,b"]))


@pytest.fixture
def grown(first, second, sounds, tmp_path):
    """The first table has a file more than when the second was made from it."""
    shutil.copytree(first.folders.output, tmp_path / "before")
    soundfile.write(sounds / "more.wav", voice(4.0, 3), 16_000)
    assert label_corpus(LabelConfig(str(sounds), first.folders.output, teachers=LOUDNESS, extend=True)).spans_run == 1
    yield
    (sounds / "more.wav").unlink()
    shutil.rmtree(first.folders.output)
    shutil.copytree(tmp_path / "before", first.folders.output)


@pytest.mark.usefixtures("grown")
def test_a_table_that_has_grown_since_is_refused(second):
    """What was made from it would end with rows of which its plan knows nothing."""
    config, result = second
    before = Path(result.folders.output, "plan.json").read_bytes()
    with pytest.raises(UserError, match="other rows than when"):
        label_corpus(config)
    assert Path(result.folders.output, "plan.json").read_bytes() == before


def test_embeddings_are_lists_of_a_fixed_size_of_half_precision(second):
    table = pads.dataset(second[1].folders.labels).to_table(filter=pads.field("status") == "labeled")
    column = table["targets"].combine_chunks().field("speech_fold_1").field("embedding")
    assert column.type == pa.list_(pa.field("element", pa.list_(pa.field("element", pa.float16()), 32)))
    numbers = column.flatten().flatten().to_numpy()
    assert len(numbers) == 3 * 8 * 32
    assert np.isfinite(numbers).all()
    assert numbers.std() > 1e-3


def test_a_table_that_is_the_input_keeps_its_embeddings(tmp_path):
    old = replace(speech_target(), embedding_size=3)
    (written, *_) = write_labels(tmp_path, rows=4, targets=(old,), files=1, statuses=(1.0, 0.0, 0.0))
    schema = labels_schema([old, speech_target("fold-1")])
    rows = ReopenRows(schema, lambda work: None, 0.0)(pq.read_table(tmp_path / "part-000.parquet"))
    found = rows["targets"][0].as_py()
    np.testing.assert_array_equal(found["fold-0"]["embedding"], written["embedding"]["fold-0"])
    assert (found["fold-1"]["values"], rows["status"][0].as_py()) == ([], "")
    table = pq.read_table(tmp_path / "part-000.parquet")
    shares = pa.array([0.04, 0.05, 0.5, 1.0], pa.float32())
    index = table.schema.get_field_index("speech_fraction")
    rows = ReopenRows(schema, lambda work: None, 0.05)(table.set_column(index, table.schema.field(index), shares))
    assert rows["reason"].to_pylist() == ["no_speech", "", "", ""]
    assert rows["detail"][0].as_py() == "4% of the time is speech"


def test_words_of_a_list_and_of_a_recogniser_are_kept_for_later_teachers(sounds, ray_session, tmp_path):
    recogniser = str(make_recogniser(tmp_path / "recogniser"))
    (tmp_path / "list.csv").write_text(f"uri,text\n{sounds}/0.wav,Well then.\n{sounds}/1.flac,\n{sounds}/silent.wav,\n")
    letters = {"letters": {"kind": "toys.letters"}}
    config = LabelConfig(str(tmp_path / "list.csv"), str(tmp_path / "out"), letters, transcribe=recogniser)
    rows = rows_of(Path(label_corpus(config).folders.labels))
    said = {name: row["transcript"] for (name, _), row in rows.items()}
    heard = said["1.flac"]
    assert said == {"0.wav": "Well then.", "1.flac": heard, "silent.wav": ""}
    assert len(heard.split()) > 1
    counted = {name: row["targets"]["letters"]["values"] for (name, _), row in rows.items()}
    assert counted == {"0.wav": [[8.0]], "1.flac": [[sum(map(str.isalpha, heard))]], "silent.wav": []}
    assert (rows["silent.wav", 0.0]["status"], rows["silent.wav", 0.0]["reason"]) == ("filtered", "no_words")
    with pytest.raises(UserError, match=r"transcripts\.recogniser: was .*, is now null"):
        label_corpus(replace(config, transcribe=""))
    more = LabelConfig(config.output, str(tmp_path / "more"), {"more": letters["letters"]})
    for (name, _), row in rows_of(Path(label_corpus(more).folders.labels)).items():
        assert (row["transcript"], row["targets"]["more"]["values"]) == (said[name], counted[name])


def test_a_target_of_ones_own_reaches_the_students_loss(second, tones, tmp_path):
    _, result = second
    (tmp_path / "loud.yaml").write_text("loss: {lambdas: {loudness: 1.0}}\n")
    config = StudentConfig(
        labeled=tones,
        unlabeled=result.folders.output,
        output=str(tmp_path / "out"),
        recipe=str(tmp_path / "loud.yaml"),
        folds="0",
        trusted=["loudness"],
        train=TrainConfig(epochs=30, learning_rate=1e-3),
    )
    train_students(config)
    (card,) = (json.loads(path.read_text()) for path in tmp_path.glob("out/*/student.json"))
    losses = [epoch["loudness"] for epoch in card["history"]]
    assert all(np.isfinite(losses))
    # Three rows in an order that depends on the run, and random segments of them: single epochs prove nothing.
    assert 0 < np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
