import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.demo.corpus import AUDIO_FOLDS, CorpusSize, Take, make_corpus
from liser_ray.demo.people import EMOTIONS
from liser_ray.finetuning.split import MIN_SPEAKERS
from liser_ray.media.reader import Reader
from liser_ray.runtime.errors import UserError

SIZE = CorpusSize(
    takes=(Take("one", 0, "happy", 1.0, 25), Take("two", 1, "sad", 1.0, 30)),
    useless=False,
    speech_speakers=1,
    audio_speakers=3,
    audio_takes=1,
)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    make_corpus(folder, seed=0, size=SIZE)
    return folder


def test_manifest_names_readable_videos(corpus):
    every = list(csv.DictReader((corpus / "manifest.csv").open()))
    assert [path.parent.name for path in map(Path, (row["uri"] for row in every))] == (
        ["videos"] * 2 + ["speech"] * 5 + ["audio"] * 15
    )
    assert all((corpus / row["uri"]).is_file() for row in every)
    assert len({row["speaker"] for row in every}) == 2 + 1 + 3
    rows = every[:2]
    assert [(row["uri"], row["speaker"], row["emotion"]) for row in rows] == [
        ("videos/one.mp4", "speaker_0", "happy"),
        ("videos/two.mp4", "speaker_1", "sad"),
    ]
    for row, frame_rate_hz in zip(rows, (25, 30), strict=True):
        with Reader(str(corpus / row["uri"])) as reader:
            assert reader.header.duration_s == pytest.approx(1.0, abs=0.1)
            assert reader.header.frame_rate_hz == pytest.approx(frame_rate_hz)
            span = reader.span(0.0, 1.0)
            assert sum(frame.n_cells for frame in span) == 30
            assert np.abs(span.pcm().astype(int)).max() > 500


def test_labeled_audio(corpus):
    rows = list(csv.DictReader((corpus / "audio/labels.csv").open()))
    assert [row["label"] for row in rows] == list(EMOTIONS) * 3
    for row in rows:
        assert soundfile.info(corpus / "audio" / row["path"]).samplerate == 16_000


def test_labeled_audio_is_a_labeled_set_of_two_folds(corpus):
    labeled = read_labeled_set(str(corpus / "audio/labels.csv"))
    assert set(labeled.labels) == set(EMOTIONS)
    assert all(Path(one.uri).is_file() for one in labeled.utterances)
    folds = folds_of(labeled)
    assert [fold.index for fold in folds] == [0, 1]
    assert [set(fold.test) for fold in folds] == [{"audio_0", "audio_2"}, {"audio_1"}]


def test_by_default_both_folds_leave_enough_speakers_to_hold_some_out():
    assert CorpusSize().audio_speakers // AUDIO_FOLDS > MIN_SPEAKERS


def test_same_seed_same_bytes_and_made_once(corpus, tmp_path):
    make_corpus(tmp_path / "again", seed=0, size=SIZE)
    assert contents(tmp_path / "again") == contents(corpus)
    before = (corpus / "manifest.csv").stat().st_mtime_ns
    make_corpus(corpus, seed=0, size=SIZE)
    assert (corpus / "manifest.csv").stat().st_mtime_ns == before


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="did not make"):
        make_corpus(tmp_path, size=SIZE)
    assert contents(tmp_path) == {"mine.txt": b"mine"}
