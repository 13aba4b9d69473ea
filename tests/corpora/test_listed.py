"""Sets whose own lists say what is in them: MSP-Podcast and MELD, with their official splits."""

import logging

import pytest
from small_sets import fill

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.recordings import list_recordings
from liser_ray.media.outcome import Reason
from liser_ray.runtime.errors import UserError

PODCASTS = """\
FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,A,5.777778,2.5,5.1,39,Female,Test1
MSP-PODCAST_0002_0001.wav,H,5.5,6.0,,7,Male,Development
MSP-PODCAST_0003_0001.wav,U,6,5,4,101,Female,Train
MSP-PODCAST_0003_0002.wav,C,4,3,5,Unknown,Unknown,Train
MSP-PODCAST_0003_0003_0001.wav,D,4,2,5,Unknown,Unknown,Train
MSP-PODCAST_0004_0001.wav,F,5,2,2,Unknown,Male,Train
MSP-PODCAST_0004_0002.wav,S,2,2,2,101,Female,Train
MSP-PODCAST_0004_0003.wav,X,4,4,4,101,Female,Train
MSP-PODCAST_0004_0004.wav,O,4,4,4,101,Female,Train
MSP-PODCAST_0005_0001.wav,N,4,4,4,12,Male,Test2
MSP-PODCAST_xxxx_0001.wav,X,,,,Unknown,Unknown,Test3
MSP-PODCAST_0006_0001.wav,N,4,4,4,102,Male,Train
"""


def write_podcasts(folder, name="labels_consensus.csv", audio="Audios"):
    rows = [line.split(",")[0] for line in PODCASTS.splitlines()[1:]]
    fill(folder, f"Labels/{name}", f"{audio}/MSP-PODCAST_9999_0001.wav", *(f"{audio}/{row}" for row in rows[:-1]))
    (folder / "Labels" / name).write_text(PODCASTS)
    return folder


class TestMspPodcast:
    @pytest.mark.parametrize(("name", "audio"), [("labels_consensus.csv", "Audios"), ("labels_concensus.csv", "Audio")])
    def test_the_list_and_its_split(self, tmp_path, name, audio, caplog):
        labeled = read_labeled_set(f"msppodcast:{write_podcasts(tmp_path, name, audio)}")
        assert [(one.uri.rpartition("PODCAST_")[2], one.label, one.speaker, one.sex) for one in labeled.utterances] == [
            ("0001_0008.wav", "neutral", "30", "man"),
            ("0001_0009.wav", "anger", "39", "woman"),
            ("0002_0001.wav", "happiness", "7", "man"),
            ("0003_0001.wav", "surprise", "101", "woman"),
            ("0003_0002.wav", "contempt", "unknown-0003", ""),
            ("0003_0003_0001.wav", "disgust", "unknown-0003", ""),
            ("0004_0001.wav", "fear", "unknown-0004", "man"),
            ("0004_0002.wav", "sadness", "101", "woman"),
        ]
        assert labeled.skipped == {
            "without a majority": 1,
            "of another emotion": 1,
            "of Test2": 1,
            "of Test3": 1,
            "listed, but not there": 1,
            "other files": 1,
        }
        assert "the speakers of 3 labeled recordings are unknown" in caplog.text
        (fold,) = folds_of(labeled)
        assert fold.index == 0
        assert fold.train == {"101", "unknown-0003", "unknown-0004"}
        assert (fold.validation, fold.test) == ({"7"}, {"30", "39"})

    def test_attributes_that_are_asked_for(self, tmp_path):
        labeled = read_labeled_set(f"msppodcast:{write_podcasts(tmp_path)}", attributes=["arousal", "dominance", "age"])
        assert labeled.utterances[1].attributes == (("arousal", 5.777778), ("dominance", 5.1))
        assert labeled.utterances[2].attributes == (("arousal", 5.5),)
        assert read_labeled_set(f"msppodcast:{tmp_path}").utterances[1].attributes == ()

    def test_an_unknown_speaker_in_two_parts_of_the_split_is_two(self, tmp_path, caplog):
        folder = write_podcasts(tmp_path)
        with (folder / "Labels/labels_consensus.csv").open("a") as file:
            file.write("MSP-PODCAST_0003_0009.wav,N,4,4,4,Unknown,Unknown,Test1\n")
        fill(folder, "Audios/MSP-PODCAST_0003_0009.wav")
        (fold,) = folds_of(read_labeled_set(f"msppodcast:{folder}"))
        assert "unknown-0003 (test)" in fold.test
        assert "unknown-0003 (train)" in fold.train
        assert "1 of 7 speakers are in several parts" in caplog.text

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("FileName,EmoClass\na.wav,A\n", "has no column EmoAct and no column EmoVal"),
            (PODCASTS.replace("2.2,4.0", "much,4.0"), "MSP-PODCAST_0001_0008.wav: could not convert"),
        ],
    )
    def test_a_list_that_is_another(self, tmp_path, text, words):
        (write_podcasts(tmp_path) / "Labels/labels_consensus.csv").write_text(text)
        with pytest.raises(UserError, match=words):
            read_labeled_set(f"msppodcast:{tmp_path}", attributes=["arousal"])

    def test_a_list_without_its_sound(self, tmp_path):
        folder = fill(tmp_path, "Labels/labels_consensus.csv")
        (folder / "Labels/labels_consensus.csv").write_text(PODCASTS)
        with pytest.raises(UserError, match="no recording of msppodcast found, but 9 listed, but not there"):
            read_labeled_set(f"msppodcast:{folder}")
        with pytest.raises(UserError, match=r"has no labels_consensus.csv"):
            read_labeled_set(f"msppodcast:{folder.parent}/{fill(tmp_path, 'x/a.wav').name}/x")


HEAD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
FRIENDS = {
    "train": [
        ('"also I was, the point person"', "Chandler", "neutral", 0, 0),
        ("You must’ve had your hands full.", "The Interviewer", "joy", 0, 1),
        ("Go!", "Ross", "anger", 125, 3),
    ],
    "dev": [("Oh my God", "Phoebe", "sadness", 0, 0), ("What?", "Ross", "surprise", 110, 7)],
    "test": [("Why do all", "Mark", "surprise", 0, 0), ("Y'know what?", "Ross", "neutral", 0, 1)],
}
FOLDERS = {"train": "train/train_splits", "dev": "dev/dev_splits_complete", "test": "test/output_repeated_splits_test"}


def write_meld(folder, suffix=".mp4"):
    """As it is published; dev's dia110_utt7 is not, and the test folder has further files."""
    root = folder / "MELD.Raw"
    for part, rows in FRIENDS.items():
        fill(root, *(f"{FOLDERS[part]}/dia{d}_utt{u}{suffix}" for *_, d, u in rows if (d, u) != (110, 7)))
        lines = [
            f'{k},{text},{who},{emotion},x,{d},{u},8,21,"00:16:16,059","00:16:21,731"\n'
            for k, (text, who, emotion, d, u) in enumerate(rows, 1)
        ]
        (root / ("train" if part == "train" else ".") / f"{part}_sent_emo.csv").write_text(HEAD + "".join(lines))
    fill(root, f"{FOLDERS['test']}/final_videos_testdia0_utt0{suffix}", "README.txt")
    return root


class TestMeld:
    def test_clips_by_their_part(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            labeled = read_labeled_set(f"meld:{write_meld(tmp_path)}")
        found = {(one.uri.rpartition("MELD.Raw/")[2], one.label, one.speaker, one.text) for one in labeled.utterances}
        assert found == {
            ("train/train_splits/dia0_utt0.mp4", "neutral", "Chandler", "also I was, the point person"),
            ("train/train_splits/dia0_utt1.mp4", "joy", "The Interviewer", "You must’ve had your hands full."),
            ("train/train_splits/dia125_utt3.mp4", "anger", "Ross (train)", "Go!"),
            ("dev/dev_splits_complete/dia0_utt0.mp4", "sadness", "Phoebe", "Oh my God"),
            ("test/output_repeated_splits_test/dia0_utt0.mp4", "surprise", "Mark", "Why do all"),
            ("test/output_repeated_splits_test/dia0_utt1.mp4", "neutral", "Ross (test)", "Y'know what?"),
        }
        assert labeled.skipped == {"listed, but not there": 1, "other files": 1}
        assert "meld: 1 of 5 speakers are in several parts as it is divided (Ross), so scores" in caplog.text
        (fold,) = folds_of(labeled)
        assert fold.train == {"Chandler", "The Interviewer", "Ross (train)"}
        assert (fold.validation, fold.test) == ({"Phoebe"}, {"Mark", "Ross (test)"})

    def test_sound_taken_out_of_the_clips_goes_before_them(self, tmp_path):
        root = write_meld(tmp_path)
        write_meld(tmp_path, ".wav")
        suffixes = {one.uri.rpartition(".")[2] for one in read_labeled_set(f"meld:{root}").utterances}
        assert suffixes == {"wav"}

    def test_the_broken_clip_is_a_row_with_its_reason(self, tmp_path):
        root = write_meld(tmp_path)
        (root / "train/train_splits/dia125_utt3.mp4").write_bytes(b"")
        listing = list_recordings(f"meld:{root}")
        assert listing.extra_schema.names == ["label", "speaker", "text"]
        problems = {one.uri.rpartition("/")[2]: one.problem.reason for one in listing.recordings if one.problem}
        assert problems == {"dia125_utt3.mp4": Reason.EMPTY}

    def test_a_list_that_is_missing(self, tmp_path):
        (write_meld(tmp_path) / "dev_sent_emo.csv").unlink()
        with pytest.raises(UserError, match=r"has no dev_sent_emo.csv, lists of MELD"):
            read_labeled_set(f"meld:{tmp_path}")
