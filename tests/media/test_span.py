"""What becomes of a span: the part that both tracks cover; and of one after a failure, which must not cost it."""

import pytest
from talking_heads import voice, write_talking_head

from liser_ray.media import source
from liser_ray.media import span as spans
from liser_ray.media.faces import FaceConfig
from liser_ray.media.flac import decode_flac
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import MAX_PIXELS
from liser_ray.media.span import MediaConfig, Needs, prepare_span

CONFIG = MediaConfig(faces=FaceConfig("opencv"))


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Of two spans, read in small pieces."""
    monkeypatch.setattr(source, "LOCAL_BLOCK_BYTES", 4096)
    monkeypatch.setattr(source, "_HEADER_BLOCKS", 0)
    yield str(write_talking_head(tmp_path / "a.mp4", 3.2))
    spans._close_reader()


@pytest.fixture
def fail_on(monkeypatch):
    """Makes reads of opened files fail: those of the files (by the order of opening) that are named."""
    opened, failing = [], set()
    honest_open, honest_read = source._open, source.read_exactly

    def open_(*arguments):
        opened.append(honest_open(*arguments))
        return opened[-1]

    def read(file, start, n_bytes):
        if any(file is opened[k] for k in failing if k < len(opened)):
            raise OSError("AWS Error UNKNOWN (HTTP status 400): The provided token has expired.")
        return honest_read(file, start, n_bytes)

    monkeypatch.setattr(source, "_open", open_)
    monkeypatch.setattr(source, "read_exactly", read)
    return opened, failing


def hashes(recording):
    return [prepare_span(recording, start_s, start_s + 1.6, CONFIG, Needs()).content_hash for start_s in (0.0, 1.6)]


def test_a_failed_read_costs_its_own_span_alone(recording, fail_on):
    expected = hashes(recording)
    spans._close_reader()
    opened, failing = fail_on
    opened.clear()
    spans._reader(recording, CONFIG.wanted(), (), MAX_PIXELS)  # its header is read well
    failing.update({0, 1})
    with pytest.raises(MediaError, match=r"Reason\.READ_ERROR"):
        prepare_span(recording, 0.0, 1.6, CONFIG, Needs())
    failing.clear()
    assert hashes(recording) == expected
    assert len(opened) == 3


def test_keys_that_expire_while_a_recording_is_open_cost_no_span(recording, fail_on):
    expected = hashes(recording)
    spans._close_reader()
    opened, failing = fail_on
    opened.clear()
    first = prepare_span(recording, 0.0, 1.6, CONFIG, Needs())
    failing.add(0)
    second = prepare_span(recording, 1.6, 3.2, CONFIG, Needs())
    assert [first.content_hash, second.content_hash] == expected
    assert len(opened) == 2
    failing.add(1)
    failing.add(2)  # with new keys it fails as well
    with pytest.raises(MediaError):
        prepare_span(recording, 0.0, 1.6, CONFIG, Needs())
    assert len(opened) == 3


@pytest.mark.parametrize(
    ("picture", "sound", "labeled"),
    [
        ((0.0, 3.2), (0.0, 1.7), (0.0, 1.7)),
        ((0.0, 1.6), (0.0, 3.2), (0.0, 1.6)),
        ((0.0, 3.2), (1.2, 2.0), (1.6, 3.2)),
        ((0.9, 2.3), (0.0, 3.2), (1.0667, 3.2)),
    ],
    ids=["sound ends", "picture ends", "sound is late", "picture is late"],
)
def test_of_tracks_of_unlike_length_the_common_part_is_labeled(tmp_path, picture, sound, labeled):
    """Where each begins and how long it is; what is labeled begins with a window of the span's."""
    path = write_talking_head(
        tmp_path / "a.mp4",
        picture[1],
        video_start_s=picture[0],
        audio=voice(sound[1]),
        audio_start_s=sound[0],
    )
    media = prepare_span(str(path), 0.0, 3.2, CONFIG, Needs(speech=False))
    assert (media.start_s, media.end_s) == pytest.approx(labeled, abs=0.08)
    assert len(decode_flac(media.audio)) == pytest.approx((media.end_s - media.start_s) * 16_000, abs=1)
    assert len(media.clips) == len(media.clip_start_s) == int((media.end_s - media.start_s) * 30 + 1e-6) // 16
    assert media.clip_start_s[0] == 0
    assert (media.clip_valid > 0).all()
    assert "pictures from" in media.note


def test_where_no_face_is_required_sound_without_pictures_is_of_use(tmp_path):
    path = write_talking_head(tmp_path / "a.mp4", 0.7, audio=voice(4.0))
    needs = Needs(face=False)
    begun, over = (prepare_span(str(path), start_s, start_s + 2.0, CONFIG, needs) for start_s in (0.0, 2.0))
    for media in (begun, over):
        assert media.problem is None
        assert media.end_s - media.start_s == 2.0
        assert len(decode_flac(media.audio)) == 32_000
        assert media.clips.shape[0] == len(media.clip_valid) == 3
    assert begun.clip_valid[0] == 1
    assert not begun.clip_valid[2]
    assert not over.clip_valid.any()
    assert begun.note == ""
    assert over.note.startswith("no picture between 2.00 and 4.00 s: the picture ends at 0.7")
    with pytest.raises(MediaError, match=r"Reason\.NO_VIDEO"):
        prepare_span(str(path), 2.0, 4.0, CONFIG, Needs())


def test_the_plans_limit_of_pixels_is_the_media_stages(recording):
    too_few = {"max_pixels": 100}
    with pytest.raises(MediaError, match="pictures of") as caught:
        prepare_span(recording, 0.0, 1.6, CONFIG, Needs(), **too_few)
    assert caught.value.reason == Reason.TOO_LARGE
    assert prepare_span(recording, 0.0, 1.6, CONFIG, Needs(clips=False, face=False), **too_few).problem is None
    of_no_use = prepare_span(recording, 0.0, 1.6, CONFIG, Needs(face=False), **too_few)
    assert of_no_use.problem is None
    assert not of_no_use.clip_valid.any()
    assert "pictures of" in of_no_use.note


def test_less_than_a_window_in_common_is_too_short(tmp_path):
    path = write_talking_head(tmp_path / "a.mp4", 3.2, audio=voice(0.4))
    with pytest.raises(MediaError, match=r"Reason\.TOO_SHORT.*sound from 0\.00 to 0\.4"):
        prepare_span(str(path), 0.0, 3.2, CONFIG, Needs(speech=False))
