import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_students import EMOTIONS, write_student
from tones import tone

from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig

SPEECH = np.concatenate([tone(label, 1.4, np.random.default_rng(label)) for label in (0, 2, 1)])


@pytest.fixture(scope="module")
def whole(student):
    return student.predict(SPEECH, 16_000)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=6).filter(lambda lengths: max(lengths) > 400))
def test_chunks_of_any_size_give_the_windows_of_the_recording(student, whole, lengths):
    stream = student.stream()
    ends = np.cumsum(np.resize(lengths, len(lengths) * (1 + len(SPEECH) // sum(lengths))))
    estimates = [one for piece in np.split(SPEECH, ends) for one in stream.add(piece)] + stream.finish()
    np.testing.assert_allclose([one.start_s for one in estimates], whole.window_start_s)
    np.testing.assert_allclose([one.probabilities for one in estimates], whole.window_probabilities, atol=1e-4)
    np.testing.assert_allclose(estimates[-1].so_far, whole.probabilities, atol=1e-4)
    assert [one.label for one in estimates] == [EMOTIONS[one.probabilities.argmax()] for one in estimates]


def test_an_estimate_comes_as_soon_as_its_window_is_full(student):
    stream = student.stream()
    n_estimates = [len(stream.add(piece)) for piece in np.split(SPEECH[:51_200], [47_999, 48_000, 49_599])]
    assert n_estimates == [0, 1, 0, 2]


@pytest.mark.parametrize("normalisation", ["utterance", "speech"])
def test_a_student_that_hears_relative_to_the_recording_takes_what_it_has_heard_so_far(tmp_path, normalisation):
    student = Student.from_pretrained(write_student(tmp_path, NetworkConfig(normalisation=normalisation)))
    estimates = student.stream().add(SPEECH)
    for k in (0, 5, len(estimates) - 1):
        until_then = student.predict(SPEECH[: 48_000 + k * 1600], 16_000)
        np.testing.assert_allclose(estimates[k].probabilities, until_then.window_probabilities[-1], atol=1e-4)


@pytest.mark.parametrize(("normalisation", "chunks"), [("none", 4), ("utterance-mean", 5)])  # of 4.1 and 5.1 s
def test_with_chunks_it_says_of_the_sound_so_far_what_is_said_of_a_recording_that_ends_there(
    tmp_path, normalisation, chunks
):
    student = Student.from_pretrained(
        write_student(tmp_path, NetworkConfig(normalisation=normalisation, chunks=chunks))
    )
    estimates = student.stream().add(SPEECH)
    for k in (0, 5, len(estimates) - 1):
        until_then = student.predict(SPEECH[: 48_000 + k * 1600], 16_000)
        np.testing.assert_allclose(estimates[k].probabilities, until_then.window_probabilities[-1], atol=1e-4)
        np.testing.assert_allclose(estimates[k].so_far, until_then.probabilities, atol=1e-4)


def test_less_than_a_window_gives_one_estimate_at_the_end(student):
    stream = student.stream()
    assert stream.add(SPEECH[:20_000]) == []
    (only,) = stream.finish()
    assert only.end_s == 1.25
    expected = student.predict(SPEECH[:20_000], 16_000).probabilities
    np.testing.assert_allclose(only.probabilities, expected, atol=1e-5)
    assert student.stream().finish() == []


def test_other_rates_and_classes(student):
    stream = student.stream(48_000, classes=["sad", "happy"])
    estimates = stream.add(np.repeat(SPEECH, 3)) + stream.finish()
    assert len(estimates) == pytest.approx(13, abs=1)
    assert stream.labels == ("happy", "sad")
    assert all(one.probabilities.shape == (2,) for one in estimates)


def test_a_broken_chunk_is_refused_and_the_stream_goes_on(student, whole):
    stream = student.stream()
    estimates = stream.add(SPEECH[:50_000])
    with pytest.raises(WaveformError, match="not finite"):
        stream.add(np.full(100, np.nan))
    estimates += stream.add(SPEECH[50_000:])
    np.testing.assert_allclose([one.probabilities for one in estimates], whole.window_probabilities, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_finished_stream_takes_nothing_more(student, rate_hz):
    stream = student.stream(rate_hz)
    stream.add(SPEECH)
    stream.finish()
    for use in (lambda: stream.add(SPEECH), stream.finish):
        with pytest.raises(ValueError, match=r"is finished\. For another recording make another one"):
            use()


def test_an_hour_is_held_in_as_little_as_a_minute(student):
    """The state's size does not grow, nor what the network is given for an estimate."""
    seen = []

    class Watched:
        def window_logits(self, samples, step_samples, statistics):
            seen.append(len(samples))
            return np.zeros((1, 8), np.float32)

    stream = Student(Watched(), student.card, None).stream()
    minute, held = np.tile(SPEECH, 15)[: 60 * 16_000], []
    for _ in range(60):
        stream.add(minute)
        held.append(sum(piece.nbytes for piece in stream._windows._held))
    assert set(seen) == {48_000}
    assert max(held) < 4 * 48_000
    assert stream.finish() == []
