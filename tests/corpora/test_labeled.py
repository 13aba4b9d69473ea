import os
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sets import fill, refusal

from liser_ray.corpora.labeled import CORPORA, read_labeled_set
from liser_ray.corpora.labels import meaning
from liser_ray.corpora.utterance import Corpus, Facts, LabeledSet, Utterance
from liser_ray.runtime.errors import UserError


def cremad_names():
    """The 7,442 names that CREMA-D is published with."""
    never_recorded = {"1008_WSI", "1009_MTI", "1019_ITH"}
    lost = {"1002_TIE_NEU_XX", "1076_ITS_NEU_XX"}
    for actor in range(1001, 1092):
        for sentence in ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"]:
            for emotion in ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]:
                levels = ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
                names = {f"{actor}_{sentence}_{emotion}_{level}" for level in levels}
                if f"{actor}_{sentence}" not in never_recorded:
                    yield from names - lost


class TestRavdess:
    def test_the_published_set(self, test_data):
        labeled = read_labeled_set(f"ravdess:{test_data / 'ravdess'}")
        assert labeled.name == "ravdess"
        assert len(labeled.utterances) == 1440
        assert labeled.speakers == tuple(str(actor) for actor in range(1, 25))
        counts = Counter(one.label for one in labeled.utterances)
        assert tuple(counts[label] for label in labeled.labels) == (96, 192, 192, 192, 192, 192, 192, 192)
        assert set(Counter(one.speaker for one in labeled.utterances).values()) == {60}
        assert labeled.skipped == {}
        sexes = {one.speaker: one.sex for one in labeled.utterances}
        assert (sexes["1"], sexes["2"]) == ("man", "woman")
        assert Counter(sexes.values()) == {"man": 12, "woman": 12}

    def test_takes_speech_alone_of_the_whole_distribution(self, tmp_path):
        speech = ("Audio_Speech_Actors_01-24/Actor_02/03-01-05-01-02-01-02.wav", "Actor_10/03-01-08-02-02-01-10.WAV")
        songs = ("Audio_Song_Actors_01-24/Actor_02/03-02-05-01-02-01-02.wav",)
        videos = ("Actor_02/01-01-05-01-02-01-02.mp4", "Actor_02/02-02-05-01-02-01-02.mp4")
        others = ("A/03-01-09-01-02-01-02.wav", "A/03-01-01-01-02-01-25.wav", "A/03-01-05-01-02-01-02.txt", "README.md")
        hidden = (".hidden/03-01-05-01-02-01-03.wav", "__MACOSX/._03-01-05-01-02-01-02.wav")
        fill(tmp_path, *speech, *songs, *videos, *others, *hidden)
        labeled = read_labeled_set(f"ravdess:{tmp_path}")
        assert labeled.utterances == (
            Utterance(f"{tmp_path}/{speech[1]}", "surprised", "10", sex="woman", text="Dogs are sitting by the door"),
            Utterance(f"{tmp_path}/{speech[0]}", "angry", "2", sex="woman", text="Dogs are sitting by the door"),
        )
        assert labeled.speakers == ("2", "10")
        assert labeled.labels == CORPORA["ravdess"].labels
        assert labeled.skipped == {"songs": 1, "videos": 2, "other files": 4}

    def test_folders_behind_links_count_once(self, tmp_path):
        fill(tmp_path / "a", "Actor_01/03-01-01-01-01-01-01.flac", "Actor_02/03-01-03-01-01-01-02.flac")
        (tmp_path / "linked").symlink_to(tmp_path / "a")
        os.symlink(tmp_path, tmp_path / "a" / "up")
        assert len(read_labeled_set(f"ravdess:{tmp_path}").utterances) == 2
        assert len(read_labeled_set(f"ravdess:{tmp_path / 'linked'}").utterances) == 2

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (
                ("Actor_02/03-02-05-01-02-01-02.wav", "a.txt", "b.txt"),
                "no RAVDESS speech recording found, but 2 other files, 1 songs. Names look like 03-01-05",
            ),
            (("03-01-05-01-02-01-02.wav", "03-01-01-01-02-01-02.wav"), "the same speaker, '2'"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, names, words):
        assert words in refusal(f"ravdess:{fill(tmp_path, *names)}")


class TestCremad:
    def test_the_published_names(self, tmp_path):
        names = list(cremad_names())
        assert len(names) == 7442
        fill(tmp_path, *(f"AudioWAV/{name}.wav" for name in names), "SentenceFilenames.csv")
        labeled = read_labeled_set(f"cremad:{tmp_path}")
        assert len(labeled.utterances) == 7441
        assert labeled.labels == CORPORA["cremad"].labels
        assert labeled.speakers == tuple(str(actor) for actor in range(1001, 1092))
        counts = Counter(one.label for one in labeled.utterances)
        # The 1,271st sad one is the empty one.
        assert counts == {"anger": 1271, "disgust": 1271, "fear": 1271, "happy": 1271, "neutral": 1087, "sad": 1270}
        assert labeled.skipped == {"known empty": 1}
        assert {one.sex for one in labeled.utterances} == {""}
        assert len({one.text for one in labeled.utterances}) == 12
        assert "Don't forget a jacket" in {one.text for one in labeled.utterances}

    def test_takes_a_recording_once_and_as_wav_where_it_can(self, tmp_path):
        fill(
            tmp_path,
            "AudioMP3/1001_DFA_ANG_XX.mp3",
            "AudioWAV/1001_DFA_ANG_XX.wav",
            "VideoFlash/1001_DFA_ANG_XX.flv",
            "AudioMP3/1002_IEO_HAP_LO.mp3",
            "VideoFlash/1002_IEO_HAP_LO.flv",
            "VideoFlash/1003_IEO_SAD_HI.flv",
            "AudioMP3/1076_MTI_SAD_XX.mp3",
        )
        labeled = read_labeled_set(f"cremad:{tmp_path}")
        assert [os.path.relpath(one.uri, tmp_path) for one in labeled.utterances] == [
            "AudioMP3/1002_IEO_HAP_LO.mp3",
            "AudioWAV/1001_DFA_ANG_XX.wav",
            "VideoFlash/1003_IEO_SAD_HI.flv",
        ]
        assert labeled.skipped == {
            "copies in .mp3 of recordings taken in .wav": 1,
            "copies in .flv of recordings taken in .wav": 1,
            "copies in .flv of recordings taken in .mp3": 1,
            "known empty": 1,
        }

    def test_a_level_cut_short_and_foreign_names(self, tmp_path):
        fill(tmp_path, "1040_ITH_SAD_X.wav", "1001_DFA_ANG_XX.wav", "1092_DFA_ANG_XX.wav", "1001_DFA_JOY_XX.wav")
        labeled = read_labeled_set(f"CREMAD:{tmp_path}")
        assert [(one.label, one.speaker) for one in labeled.utterances] == [("anger", "1001"), ("sad", "1040")]
        assert labeled.skipped == {"other files": 2}

    def test_the_actors_sexes_where_their_list_is_there(self, tmp_path):
        fill(
            tmp_path,
            *(f"AudioWAV/{actor}_DFA_{of}_XX.wav" for actor, of in ((1001, "ANG"), (1002, "SAD"), (1003, "SAD"))),
        )
        fill(tmp_path, "README.md")
        actors = tmp_path / "VideoDemographics.csv"
        actors.write_text(
            '"ActorID","Age","Sex","Race","Ethnicity"\n'
            '1001,51,"Male","Caucasian","Not Hispanic"\n'
            '1002,21,"Female","Caucasian","Not Hispanic"\n'
        )
        labeled = read_labeled_set(f"cremad:{tmp_path}")
        assert [one.sex for one in labeled.utterances] == ["man", "woman", ""]
        assert labeled.skipped == {"other files": 1}
        for text in ("version https://git-lfs.github.com/spec/v1\n", ""):  # not fetched
            actors.write_text(text)
            assert {one.sex for one in read_labeled_set(f"cremad:{tmp_path}").utterances} == {""}

    def test_what_raters_heard_in_the_voice_where_the_lists_are_there(self, tmp_path):
        """Each recording has three rows, for the voice (1), the face (2) and both; other columns do not matter."""
        fill(tmp_path, *(f"AudioWAV/{name}.wav" for name in ("1001_DFA_ANG_XX", "1001_IEO_HAP_LO", "1002_DFA_SAD_XX")))
        assert {one.votes for one in read_labeled_set(f"cremad:{tmp_path}").utterances} == {()}
        votes = tmp_path / "processedResults" / "tabulatedVotes.csv"
        votes.parent.mkdir()
        votes.write_text(
            '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
            '"100062",6,2,0,0,1,0,"1001_DFA_ANG_XX",9,0.67,"A"\n'
            '"100002",0,0,0,3,6,0,"1001_IEO_HAP_LO",9,0.67,"N"\n'
            '"200062",0,0,0,0,0,9,"1001_DFA_ANG_XX",9,1,"S"\n'
            '"300062",0,9,0,0,0,0,"1001_DFA_ANG_XX",9,1,"D"\n'
        )
        angry, happy, sad = (one.votes for one in read_labeled_set(f"cremad:{tmp_path}").utterances)
        assert dict(angry) == {"anger": 6, "disgust": 2, "fear": 0, "happy": 0, "neutral": 1, "sad": 0}
        assert dict(happy) == dict.fromkeys(CORPORA["cremad"].labels, 0.0) | {"happy": 3, "neutral": 6}
        assert sad == ()
        votes.write_text(votes.read_text() + '"100072",0,9')
        assert "list of votes is damaged" in refusal(f"cremad:{tmp_path}")
        votes.write_text("version https://git-lfs.github.com/spec/v1\n")  # not fetched
        assert {one.votes for one in read_labeled_set(f"cremad:{tmp_path}").utterances} == {()}


TURNS = [
    ("Ses01F_impro01_F000", "neu", "Excuse me. [LAUGHTER]"),
    ("Ses01F_impro01_M000", "fru", "Do you have your forms?"),
    ("Ses01M_script01_1_M012", "exc", "<BREATHING> It's  wonderful."),
    ("Ses01M_script01_1_F003", "xxx", "Yeah."),
    ("Ses02F_script01_1b_F001", "ang", "No: I said [GARBAGE] no."),
    ("Ses03M_impro08a_M004", "hap", None),
    ("Ses05M_script03_2_M045", "sad", "I know."),
    ("Ses05M_script03_2_F017", "oth", "Oh."),
]


def write_iemocap(folder):
    """As it is published: lists, dialogues and each rater's own files beside the turns."""
    root, lists = folder / "IEMOCAP_full_release", {}
    for number, (turn, label, text) in enumerate(TURNS):
        dialogue, session = turn.rpartition("_")[0], f"Session{turn[4]}"
        fill(root, f"{session}/sentences/wav/{dialogue}/{turn}.wav", f"{session}/dialog/wav/{dialogue}.wav")
        evaluated = (
            f"[{number}.2901 - {number + 2}.2357]\t{turn}\t{label}\t[2.5000, 2.5000, 2.5000]\nC-E2:\tFear;\t()\n"
        )
        said = f"{turn} [00{number}.2901-00{number + 2}.2357]: {text}\n" if text else "M: [coughs]\n"
        for name, lines in (("EmoEvaluation", evaluated), ("transcriptions", said)):
            lists.setdefault(f"{session}/dialog/{name}/{dialogue}.txt", []).append(lines)
        lists[f"{session}/dialog/EmoEvaluation/Categorical/{dialogue}_e2_cat.txt"] = [f"{turn} :Fear; ()\n"]
    for name, lines in lists.items():
        head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" if "/EmoEvaluation/Ses" in name else ""
        (fill(root, name) / name).write_text(head + "".join(lines))
    return root


class TestIemocap:
    def test_four_labels_with_what_is_said(self, tmp_path):
        labeled = read_labeled_set(f"iemocap:{write_iemocap(tmp_path)}")
        found = [(one.uri.rpartition("/")[2], *one_of(one)) for one in labeled.utterances]
        assert found == [
            ("Ses01F_impro01_F000.wav", "neutral", "1F", "woman", "Excuse me."),
            ("Ses01M_script01_1_M012.wav", "happiness", "1M", "man", "It's wonderful."),
            ("Ses02F_script01_1b_F001.wav", "anger", "2F", "woman", "No: I said no."),
            ("Ses03M_impro08a_M004.wav", "happiness", "3M", "man", ""),
            ("Ses05M_script03_2_M045.wav", "sadness", "5M", "man", "I know."),
        ]
        assert labeled.labels == ("anger", "happiness", "sadness", "neutral")
        others = {
            name: labeled.skipped.pop(name) for name in ("without a majority", "frustrated", "of another emotion")
        }
        assert set(others.values()) == {1}
        assert labeled.skipped.keys() == {"other files"}

    def test_turns_without_the_lists_are_no_set(self, tmp_path):
        fill(tmp_path, "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")
        assert "no IEMOCAP recording found, but 1 without an evaluation" in refusal(f"iemocap:{tmp_path}")

    def test_the_same_set_by_sessions(self, tmp_path):
        root = write_iemocap(tmp_path)
        by_speaker, by_session = (read_labeled_set(f"{name}:{root}") for name in ("iemocap", "iemocap-sessions"))
        assert (by_session.name, by_session.speakers) == ("iemocap", by_speaker.speakers)
        assert {one.speaker: one.fold for one in by_session.utterances} == {
            **{"1F": 0, "1M": 0, "2F": 1, "3M": 2, "5M": 4},
        }
        assert {one.fold for one in by_speaker.utterances} == {None}


@pytest.mark.parametrize(
    ("name", "files", "recordings", "labels"),
    [
        (
            "emodb",
            ("wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a05Na.wav", "lablaut/03a01Fa.lablaut", "wav/01a01Fa.wav"),
            [("neutral", "8", "woman", ""), ("happiness", "3", "man", ""), ("anger", "16", "woman", "")],
            "anger boredom disgust fear happiness sadness neutral",
        ),
        (
            "savee",
            ("AudioData/DC/sa01.wav", "AudioData/KL/su15.wav", "ALL/JE_h03.wav", "AudioData/DC/x01.wav", "Info.txt"),
            [("sadness", "DC", "man", ""), ("happiness", "JE", "man", ""), ("surprise", "KL", "man", "")],
            "anger disgust fear happiness neutral sadness surprise",
        ),
        (
            "tess",
            ("OAF_Fear/OAF_back_fear.wav", "YAF_young_ps.wav", "OA_bite_neutral.wav", "TESS.pdf", "OAF_back_calm.wav"),
            [
                ("fear", "older", "woman", "Say the word back"),
                ("neutral", "older", "woman", "Say the word bite"),
                ("pleasant surprise", "younger", "woman", "Say the word young"),
            ],
            "angry,disgust,fear,happy,neutral,pleasant surprise,sad",
        ),
    ],
)
def test_a_published_set_by_its_names(tmp_path, name, files, recordings, labels):
    labeled = read_labeled_set(f"{name}:{fill(tmp_path, *files)}")
    assert sorted(map(one_of, labeled.utterances)) == sorted(recordings)
    assert labeled.labels == tuple(labels.split("," if "," in labels else " "))
    assert labeled.skipped == {"other files": 2}
    known = {meaning(one) for one in labeled.labels}
    assert known <= {"angry", "bored", "disgust", "fearful", "happy", "neutral", "sad", "surprised"}


def test_recordings_of_several_speakers_may_have_one_name(tmp_path):
    """As in SAVEE; and one of them may have been kept in another format."""
    labeled = read_labeled_set(f"savee:{fill(tmp_path, 'DC/a01.wav', 'DC/a01.flac', 'JE/a01.flac', 'JE/sa02.flac')}")
    assert {one.uri.removeprefix(f"{tmp_path}/") for one in labeled.utterances} >= {"JE/a01.flac", "JE/sa02.flac"}
    assert len(labeled.utterances) == 3
    assert sum(labeled.skipped.values()) == 1


def one_of(utterance):
    return utterance.label, utterance.speaker, utterance.sex, utterance.text


def test_a_corpus_more_is_its_names_and_its_labels(tmp_path, monkeypatch):
    def parse(path):
        speaker, _, label = path.split("/")[-1].split("_")
        return Facts(label, speaker, "woman") if path.startswith("speech/") else "songs"

    mine = Corpus("mine", "Mine", ("angry", "sad"), lambda uris: parse, "OAF_back_angry.wav")
    monkeypatch.setitem(CORPORA, "mine", mine)
    fill(tmp_path, "speech/OAF_back_angry.wav", "speech/YAF_back_sad.wav", "song/OAF_back_sad.wav")
    labeled = read_labeled_set(f"mine:{tmp_path}")
    assert [(one.label, one.speaker, one.sex) for one in labeled.utterances] == [
        ("angry", "OAF", "woman"),
        ("sad", "YAF", "woman"),
    ]
    assert labeled.skipped == {"songs": 1}


class TestManifest:
    def write(self, folder, text, name="set.csv"):
        path = folder / name
        path.write_text(text)
        return str(path)

    def test_csv_keeps_text_as_it_stands(self, tmp_path):
        path = self.write(
            tmp_path,
            "speaker,path,note,label,fold\n"
            "007, b/1.wav ,x,NA,1\n"
            "10,/abs/2.wav,y,happy ,2\n"
            "2,s3://bucket/3.wav,z,happy,02\n"
            "2,b/../4.wav,z,happy,2.0\n",
        )
        labeled = read_labeled_set(path)
        assert labeled == LabeledSet(
            "set",
            ("NA", "happy"),
            (
                Utterance("/abs/2.wav", "happy", "10", 2),
                Utterance(f"{tmp_path}/4.wav", "happy", "2", 2),
                Utterance(f"{tmp_path}/b/1.wav", "NA", "007", 1),
                Utterance("s3://bucket/3.wav", "happy", "2", 2),
            ),
            {},
        )
        assert labeled.speakers == ("2", "007", "10")

    def test_segments_of_one_file_are_utterances_of_their_own(self, tmp_path):
        labeled = read_labeled_set(
            self.write(
                tmp_path,
                "file,start,end,label,speaker\nb.wav,0 days 00:00:01,0 days 00:00:03,happy,2\n"
                "a.wav,0 days 00:00:01.5,NaT,happy,1\na.wav,0 days,0 days 00:00:01.5,angry,1\n",
            )
        )
        assert [(one.uri.rpartition("/")[2], one.segment, one.label) for one in labeled.utterances] == [
            ("a.wav", (0.0, 1.5), "angry"),
            ("a.wav", (1.5, None), "happy"),
            ("b.wav", (1.0, 3.0), "happy"),
        ]

    def test_parquet_with_numbers_and_categories(self, tmp_path):
        columns = {
            "path": ["2.wav", "1.wav"],
            "label": pa.array(["sad", "calm"]).dictionary_encode(),
            "speaker": pa.array([7, 12], pa.int16()),
            "fold": pa.array([0.0, 3.0]),
        }
        pq.write_table(pa.table(columns), tmp_path / "my set.parquet")
        labeled = read_labeled_set(str(tmp_path / "my set.parquet"))
        assert labeled.name == "my set"
        assert labeled.utterances == (
            Utterance(f"{tmp_path}/1.wav", "calm", "12", 3),
            Utterance(f"{tmp_path}/2.wav", "sad", "7", 0),
        )

    def test_sexes_in_any_of_their_words_and_none_where_it_is_not_known(self, tmp_path):
        words = ["man", "Male", "M", "WOMAN", "female", " f ", ""]
        rows = [f"{k}.wav,{'xy'[k % 2]},{k},{word}\n" for k, word in enumerate(words)]
        labeled = read_labeled_set(self.write(tmp_path, "path,label,speaker,sex\n" + "".join(rows)))
        assert [one.sex for one in labeled.utterances] == ["man"] * 3 + ["woman"] * 3 + [""]
        assert {one.fold for one in labeled.utterances} == {None}

    def test_what_is_said_where_it_is_known(self, tmp_path):
        rows = 'path,label,speaker,text\na.wav,x,1,"Well, no. "\nb.wav,y,2,\n'
        labeled = read_labeled_set(self.write(tmp_path, rows))
        assert [one.text for one in labeled.utterances] == ["Well, no.", ""]

    def test_attributes_are_columns_that_are_asked_for(self, tmp_path):
        path = self.write(tmp_path, "path,label,speaker,arousal,age\na,sad,1,-2.5,x\nb,happy,2,,y\n")
        labeled = read_labeled_set(path, attributes=["arousal", "valence"])
        assert [one.attributes for one in labeled.utterances] == [(("arousal", -2.5),), ()]
        assert [one.attributes for one in read_labeled_set(path).utterances] == [(), ()]
        with pytest.raises(UserError, match=r"row 1 has age 'x'. Write a number, or leave it empty"):
            read_labeled_set(path, attributes=["age"])

    def test_with_attributes_there_need_be_no_label(self, tmp_path):
        path = self.write(tmp_path, "path,speaker,arousal\na,1,-2.5\nb,2,\n")
        labeled = read_labeled_set(path, attributes=["arousal"])
        assert (labeled.labels, {one.label for one in labeled.utterances}) == (("speech",), {"speech"})
        with pytest.raises(UserError, match="has no column 'label' or 'emotion'"):
            read_labeled_set(path)
        with pytest.raises(UserError, match="have the same label, 'speech'"):
            read_labeled_set(path, attributes=["valence"])

    def test_votes_in_a_column_of_each_label(self, tmp_path):
        rows = "path,label,speaker,votes.sad,votes.happy\na,sad,1,2,1.0\nb,happy,2,,\nc,calm,2,0,.5\n"
        votes = [one.votes for one in read_labeled_set(self.write(tmp_path, rows)).utterances]
        assert votes == [(("sad", 2), ("happy", 1)), (), (("sad", 0), ("happy", 0.5))]
        columns = {"path": ["a", "b"], "label": ["sad", "calm"], "speaker": ["1", "2"]}
        pq.write_table(pa.table(columns | {"votes.sad": pa.array([3, None], pa.int32())}), tmp_path / "set.parquet")
        assert [one.votes for one in read_labeled_set(str(tmp_path / "set.parquet")).utterances] == [(("sad", 3),), ()]

    def test_columns_may_have_the_names_that_others_give_them(self, tmp_path):
        rows = "file,emotion,speaker_id,gender,transcription,note\na,sad,1,female,one two,x\nb,calm,2,,,\n"
        first, second = read_labeled_set(self.write(tmp_path, rows)).utterances
        assert first == Utterance(f"{tmp_path}/a", "sad", "1", sex="woman", text="one two")
        assert second == Utterance(f"{tmp_path}/b", "calm", "2")
        both = "path,emotion,label,speaker\na,x,sad,1\nb,x,calm,2\n"
        assert read_labeled_set(self.write(tmp_path, both)).labels == ("calm", "sad")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "path,mood\na,b\n",
                "no column 'label' or 'emotion' and no column 'speaker' or 'speaker_id'. It has: path, mood. Needed",
            ),
            ("path-label-speaker\na-b-c\n", "It has: path-label-speaker"),
            ("path,label,speaker\n", "has no rows"),
            ("", "can't be read"),
            ("path,label,speaker\na,x,1\nb,,2\n", "row 2 has no label"),
            ("path,label,speaker\na,x,1\nb,y, \n", "row 2 has no speaker"),
            ("path,label,speaker\n,x,1\nb,y,2\n", "row 1 has no path"),
            ("path,label,speaker,fold\na,x,1,0\nb,y,2,\n", "row 2 has no fold"),
            ("path,label,speaker,fold\na,x,1,0\nb,y,2,one\n", "row 2 has the fold 'one'"),
            ("path,label,speaker,fold\na,x,1,0\nb,y,2,1.5\n", "row 2 has the fold '1.5'"),
            ("path,label,speaker,fold\na,x,1,0\nb,y,1,1\n", "speaker 1 is in the folds 0 and 1"),
            ("path,label,speaker,sex\na,x,1,m\nb,y,2,2\n", "row 2 has the sex '2'. Write man or woman, or leave"),
            ("path,label,speaker,sex\na,x,1,m\nb,y,2,f\nc,y,1,female\n", "speaker 1 is a man in one row and a woman"),
            ("path,label,speaker\na,x,1\nb,x,2\n", "have the same label, 'x'"),
            ("path,label,speaker\na,x,1\nb,y,1\n", "have the same speaker, '1'"),
            ("path,label,speaker\na,sad,1\nb,Sad,2\n", "the labels 'Sad' and 'sad'"),
            ("path,path,label,speaker\na,b,sad,1\n", "two columns 'path'"),
            ("path,label,speaker,votes.x\na,x,1,3\nb,y,2,-1\n", "row 2 has votes.x '-1'. Write how many raters"),
            ("path,label,speaker,votes.x\na,x,1,3\nb,y,2,many\n", "row 2 has votes.x 'many'"),
            ("path,label,speaker,votes.z\na,x,1,3\nb,y,2,1\n", "the column votes.z, and no recording has that label"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, text, words):
        assert words in refusal(self.write(tmp_path, text))

    def test_a_column_of_the_wrong_type_and_a_parquet_file_that_is_none(self, tmp_path):
        pq.write_table(pa.table({"path": ["a"], "label": [["x", "y"]], "speaker": ["1"]}), tmp_path / "set.parquet")
        assert "'label' is list<" in refusal(tmp_path / "set.parquet")
        assert "can't be read" in refusal(self.write(tmp_path, "hello", "set.parquet"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("semaine:{}", "no labeled set 'semaine'. Give ravdess:<folder"),
        ("ravdess:{}/none", "nothing there"),
        ("{}/none.csv", "nothing there"),
        ("{}/none.parquet", "nothing there"),
        ("{}", "is no labeled set"),
        ("ravdess:{}/a.zip", "Unpack it"),
        ("ravdess:", "names no folder"),
        ("gs://bucket/a.csv", "can't read this kind of address"),
        ("cremad:{}/new", "an empty folder"),
    ],
)
def test_what_is_no_set_is_said(tmp_path, spec, words):
    fill(tmp_path, "a.zip")
    (tmp_path / "new").mkdir()
    assert words in refusal(spec.format(tmp_path))


def test_sets_on_s3_below_a_prefix_and_in_a_manifest(s3_store):
    bucket = s3_store.bucket()
    names = ("r/Actor_01/03-01-01-01-01-01-01.wav", "r/Actor_02/03-01-03-01-01-01-02.wav")
    for key in (*names, "r/Actor_02/.03-01-03-01-01-01-02.wav", "r/", "r2/Actor_03/03-01-03-01-01-01-03.wav"):
        s3_store.client.put_object(Bucket=bucket, Key=key, Body=b"")
    manifest = b"path,label,speaker\n../r/1.wav,x,1\n2.wav,y,2\n"
    s3_store.client.put_object(Bucket=bucket, Key="m/set.csv", Body=manifest)
    labeled = read_labeled_set(f"ravdess:s3://{bucket}/r/")
    assert [one.uri for one in labeled.utterances] == [f"s3://{bucket}/{name}" for name in names]
    listed = read_labeled_set(f"s3://{bucket}/m/set.csv")
    assert [one.uri for one in listed.utterances] == [f"s3://{bucket}/m/2.wav", f"s3://{bucket}/r/1.wav"]
    assert "nothing there" in refusal(f"cremad:s3://{bucket}/none")
    assert "nothing there" in refusal(f"s3://{bucket}/none.csv")
    assert "bucket does not exist" in refusal("ravdess:s3://no-such-bucket-here/r")
