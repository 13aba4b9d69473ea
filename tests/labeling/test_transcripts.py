"""What is said in a span: from a list, or from a recogniser; and who is asked about it."""

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from labeling.tables import open_spans
from talking_heads import voice

from liser_ray.corpora.schema import plan_schema
from liser_ray.labeling.config import LabelConfig, fit_pools
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.run_card import sources_of_transcripts
from liser_ray.labeling.schema import labels_schema
from liser_ray.labeling.teacher_stage import TeacherStage
from liser_ray.labeling.transcript_stage import TranscriptStage
from liser_ray.media.content_hash import digest
from liser_ray.media.flac import encode_flac
from liser_ray.media.span import MediaConfig, Needs
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.targets import Target

TARGET = Target("letters", "scalar", ("letters",), 0.0, 0.0, "", "letters")
LETTERS = {"letters": {"kind": "toys.letters"}}


def test_a_lists_text_is_the_transcript_of_a_recording_that_is_one_span(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(5.0, 1), 16_000)
    carried = pa.schema([("text", pa.string())])
    empty = {field.name: "" if field.type == pa.string() else 0 for field in plan_schema(carried)}
    spans = [(0.0, 5.0, "Well,  no."), (0.0, 4.8, "Well, no."), (0.0, 3.0, "Well, no."), (0.0, 5.0, None)]
    rows = [
        empty | {"uri": str(tmp_path / "a.wav"), "start_s": start, "end_s": end, "recording_s": 5.0, "text": text}
        for start, end, text in spans
    ]
    schema = labels_schema([TARGET], carried, transcripts=True)
    stage = MediaStage(schema, lambda work: None, MediaConfig(), Needs(clips=False, face=False, speech=False))
    found = [row for part in stage(pa.Table.from_pylist(rows, plan_schema(carried))) for row in part.to_pylist()]
    assert [row["transcript"] for row in found] == ["Well, no.", "Well, no.", "", ""]
    assert ["of the whole recording" in row["detail"] for row in found] == [False, False, True, False]
    assert [row["text"] for row in found] == [text for *_, text in spans]


@pytest.fixture
def spans():
    """Four open ones, with transcripts or without, one of them without speech, and one that has ended."""
    said, stretches, status = ("Yes!", "", "", "", ""), [[0, 8000]] * 4, ("", "", "", "", "failed")
    rows = []
    for number, (text, stretch) in enumerate(zip(said, [*stretches[:3], [], [0, 8000]], strict=True)):
        pcm = np.full(8000, number, np.int16)
        rows.append(
            {"transcript": text, "speech": stretch, "status": status[number], "span_id": str(number)}
            | {"audio": encode_flac(pcm), "content_hash": digest(pcm)}
        )
    return open_spans([TARGET], rows)


@pytest.mark.parametrize("required", [(), ("letters",)])
def test_a_teacher_of_text_has_the_span_as_its_only_window(spans, required):
    rows = TeacherStage(read_teachers(LETTERS), required, "float32")(spans).to_pylist()
    assert rows[0]["targets"]["letters"] == {"start_s": [0.0], "values": [[3.0]], "valid": [1.0]}
    assert rows[4]["targets"]["letters"]["values"] == []
    for row in rows[1:4]:
        if required:
            assert (row["status"], row["stage"], row["reason"]) == ("filtered", "letters", "no_words")
            assert row["targets"]["letters"]["valid"] == []
        else:
            assert row["targets"]["letters"] == {"start_s": [0.0], "values": [[0.0]], "valid": [0.0]}
            assert row["status"] == row["detail"] == ""


@pytest.mark.parametrize("required", [True, False])
def test_the_recogniser_is_asked_where_there_is_speech_and_no_transcript(spans, monkeypatch, required):
    asked, work = [], []

    def load(address, device, precision):
        def recogniser(sounds):
            asked.append([int(one[0]) for one in sounds])
            if 2 in asked[-1]:
                raise RuntimeError("too long")
            return [f"It is {one[0]}." for one in sounds]

        return recogniser

    monkeypatch.setattr("liser_ray.teachers.recogniser.load_recogniser", load)
    stage = TranscriptStage("whisper", "float32", required, count=work.append)
    rows = stage(spans).to_pylist()
    assert asked == [[1, 2], [1], [2]]
    assert [row["transcript"] for row in rows] == ["Yes!", "It is 1.", "", "", ""]
    assert [row["status"] for row in rows] == ["", "", "failed" if required else "", "", "failed"]
    assert (rows[2]["stage"], rows[2]["reason"]) == (("transcripts", "teacher_error") if required else ("", ""))
    assert rows[2]["detail"] == ("" if required else "transcripts: teacher_error, ") + "RuntimeError: too long"
    assert [(one.spans, one.ended) for one in work] == [(4, int(required))]
    changed = spans.set_column(spans.schema.get_field_index("audio"), "audio", spans["audio"].take([1, 2, 0, 3, 4]))
    rows = stage(changed).to_pylist()
    assert [row["reason"] for row in rows] == ["", "hash_mismatch", "hash_mismatch", "", ""]


def test_where_transcripts_come_from_is_in_the_recipe_and_without_any_words_can_not_be_judged(tmp_path):
    config = LabelConfig(str(tmp_path), teachers=LETTERS)
    listed = pa.schema([("text", pa.string())])
    assert sources_of_transcripts(config, listed) == {"text": "list"}
    assert sources_of_transcripts(LabelConfig(teachers=["face=face:a"]), pa.schema([])) == {}
    with pytest.raises(UserError, match=r"letters takes text, .*a column text, or a speech recogniser.*--transcribe"):
        sources_of_transcripts(config, pa.schema([("label", pa.string())]))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_bytes(b"")
    config = LabelConfig(str(tmp_path), teachers=LETTERS, transcribe=str(tmp_path / "model"))
    assert sources_of_transcripts(config, listed).keys() == {"text", "recogniser"}


def test_the_recogniser_has_a_pool_between_those_of_sound_and_of_text():
    teachers = {**LETTERS, "speech": {"kind": "speech"}, "face": {"kind": "face"}}
    config = LabelConfig(teachers=teachers, transcribe="whisper")
    assert [*config.teacher_groups] == ["clips", "sound", "transcripts", "text"]
    assert config.clips_pools == ("clips",)
    shares = {name: pool.num_gpus for name, pool in fit_pools(config, 34, 2).teachers.items()}
    assert shares == pytest.approx({"clips": 4 / 7, "sound": 1 / 7, "transcripts": 1 / 7, "text": 1 / 7})
    with pytest.raises(UserError, match="can't be called transcripts"):
        LabelConfig(teachers={"transcripts": {"kind": "toys.letters"}})
