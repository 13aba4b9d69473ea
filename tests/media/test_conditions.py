"""Sounds elsewhere, measured as a sound engineer would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.media import conditions

RATE_HZ = 16_000


def speech_like(seconds=3.0, seed=0):
    """Bursts of noise between 100 Hz and 6 kHz, a second of silence on each side."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency_hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    spectrum[(frequency_hz < 100) | (frequency_hz > 6000)] = 0
    sound = np.fft.irfft(spectrum, n) * (0.3 + np.square(np.sin(np.arange(n) / 2000)))
    sound = 0.3 * sound / np.abs(sound).max()
    return np.pad(sound, RATE_HZ).astype(np.float32)


SPEECH = speech_like()


def power_db(waveform):
    return 10 * np.log10(np.square(waveform.astype(np.float64)).mean())


def band_db(waveform, low_hz, high_hz):
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    frequency_hz = np.fft.rfftfreq(len(waveform), 1 / RATE_HZ)
    return 10 * np.log10(spectrum[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() + 1e-12)


def delay(sound, other):
    """Samples by which the other one comes later."""
    n = len(sound)
    found = np.fft.irfft(np.fft.rfft(other, 2 * n) * np.conj(np.fft.rfft(sound, 2 * n))).argmax()
    return found if found < n else found - 2 * n


def test_trimming_leaves_the_speech():
    assert len(conditions.trimmed(SPEECH)) == pytest.approx(3 * RATE_HZ, abs=0.04 * RATE_HZ)
    for seconds in (1, 2, 9):
        assert len(conditions.middle(SPEECH, seconds)) == pytest.approx(min(seconds, 3) * RATE_HZ, abs=0.04 * RATE_HZ)
    one = conditions.middle(SPEECH, 1)
    assert delay(SPEECH, np.pad(one, (0, len(SPEECH) - len(one)))) == pytest.approx(-2 * RATE_HZ, abs=0.04 * RATE_HZ)


@pytest.mark.parametrize("snr_db", [20, 0, -5])
def test_noise_and_babble_are_so_many_db_below(snr_db):
    others = [speech_like(seed=seed) for seed in (1, 2)]
    noisy = [
        conditions.white_noise(SPEECH, snr_db, np.random.default_rng(0)),
        conditions.babble(SPEECH, others, snr_db, np.random.default_rng(0)),
    ]
    for one in noisy:
        assert power_db(SPEECH) - power_db(one - SPEECH) == pytest.approx(snr_db, abs=0.01)
    assert band_db(noisy[0] - SPEECH, 6500, 8000) > band_db(noisy[1] - SPEECH, 6500, 8000) + 30


def test_a_telephone_passes_300_to_3400_hz():
    heard = conditions.telephone(SPEECH)
    assert heard.shape == SPEECH.shape
    assert abs(delay(SPEECH, heard)) < 0.003 * RATE_HZ
    assert band_db(heard, 500, 3000) == pytest.approx(band_db(SPEECH, 500, 3000), abs=1.5)
    assert band_db(heard, 4000, 6000) < band_db(SPEECH, 4000, 6000) - 30
    assert band_db(heard, 100, 150) < band_db(SPEECH, 100, 150) - 15


def test_opus_is_still_the_same_sound_in_time():
    heard = conditions.opus(SPEECH, 16_000)
    assert heard.shape == SPEECH.shape
    assert abs(delay(SPEECH, heard)) <= 2
    assert power_db(heard) == pytest.approx(power_db(SPEECH), abs=3)
    assert np.abs(heard - SPEECH).max() > 1e-3


def test_louder_than_full_scale_survives_a_codec():
    loud = conditions.gain(SPEECH, 20)
    assert np.abs(loud).max() == pytest.approx(3, rel=1e-3)
    assert power_db(conditions.opus(loud, 32_000)) == pytest.approx(power_db(loud), abs=3)


def test_a_room_rings_on_for_its_time():
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[1000] = 1
    heard = conditions.reverberation(click, 0.5, np.random.default_rng(0))
    assert heard[1000] == pytest.approx(1)
    assert np.abs(heard[:1000]).max() < 1e-6
    after = heard[1001:9000]
    assert np.square(after).sum() == pytest.approx(1, rel=1e-3)  # as much as the direct sound
    fall_db = power_db(after[200:600]) - power_db(after[4200:4600])
    assert fall_db == pytest.approx(30, abs=3)  # a quarter of a second later, of 60 dB in half a second


@given(st.sampled_from([0.5, 0.9, 1.1, 1.5]))
def test_speed_changes_length_and_pitch(factor):
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    heard = conditions.speed(tone, factor)
    assert len(heard) == pytest.approx(RATE_HZ / factor, abs=2)
    assert np.abs(np.fft.rfft(heard)).argmax() * RATE_HZ / len(heard) == pytest.approx(440 * factor, rel=0.01)


def test_clipping_cuts_the_peaks():
    heard = conditions.clipped(SPEECH, 6)
    assert np.abs(heard).max() == pytest.approx(np.abs(SPEECH).max() / 2, rel=0.01)


@settings(max_examples=20)
@given(st.integers(0, 200), st.integers(1600, 30_000))
def test_any_condition_gives_finite_sound_of_the_same_length(seed, n):
    sound = speech_like(2, seed)[10_000 : 10_000 + n]
    heard = conditions.random_condition(sound, np.random.default_rng(seed))
    assert heard.shape == sound.shape
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    np.testing.assert_array_equal(heard, conditions.random_condition(sound, np.random.default_rng(seed)))
