"""Descriptors of the voice: of sounds whose pitch, formants and harmonics are known, and beside openSMILE on speech."""

import math

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter

from liser_ray.teachers.prosody.descriptors import NAMES, describe, frame_count
from liser_ray.teachers.prosody.sources import SOURCES

pytestmark = pytest.mark.numerics

RATE_HZ = 16_000
F0 = NAMES.index("f0_semitones")


def described(sound: np.ndarray) -> dict[str, np.ndarray]:
    """By name, without the frames that reach over an end of the sound."""
    values = describe(torch.from_numpy(sound.astype(np.float32))).numpy()
    assert values.shape == (25, frame_count(len(sound)))
    return dict(zip(NAMES, values[:, 5:-5], strict=True))


def pulses(periods: np.ndarray, heights: np.ndarray | float = 1.0) -> np.ndarray:
    """A pulse after each of these periods, in samples and parts of them."""
    places, around = np.cumsum(periods) + 20, np.arange(-20, 20)
    sound = np.zeros(int(places[-1]) + 20)
    for place, height in zip(places, np.broadcast_to(heights, len(places)), strict=True):
        away = int(place) + around - place
        sound[int(place) + around] += 0.5 * height * np.sinc(away) * np.cos(np.pi / 42 * away) ** 2
    return sound


def tilted(sound: np.ndarray) -> np.ndarray:
    """As a voice has more of the low than of the high."""
    return lfilter([1], [1, -0.95], sound)


def vowel(f0_hz: float, formants_hz: tuple[float, ...]) -> np.ndarray:
    """A voice through resonances of 100 Hz."""
    sound = tilted(pulses(np.full(int(f0_hz), RATE_HZ / f0_hz)))
    for hz in formants_hz:
        radius = math.exp(-math.pi * 100 / RATE_HZ)
        sound = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hz / RATE_HZ), radius**2], sound)
    return 0.5 * sound / np.abs(sound).max()


def semitones(hz: float) -> float:
    return 12 * math.log2(hz / 27.5)


@pytest.mark.parametrize("f0_hz", [80, 140, 230, 400])
def test_pitch_of_a_voice_is_its_own(f0_hz):
    found = described(vowel(f0_hz, (700, 1200, 2600)))["f0_semitones"]
    np.testing.assert_allclose(found, semitones(f0_hz), atol=0.1)


def test_pitch_follows_a_glide():
    seconds = np.arange(RATE_HZ) / RATE_HZ
    hz = 120 * 2**seconds  # an octave up
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    found = described(sum(0.2 / k * np.sin(k * phase) for k in range(1, 8)))["f0_semitones"]
    middles = (np.arange(len(found)) + 6) * 0.01
    np.testing.assert_allclose(found, semitones(120) + 12 * middles, atol=0.25)


def test_noise_and_silence_have_no_voice():
    rng = np.random.default_rng(0)
    noise = described(0.1 * rng.standard_normal(RATE_HZ))
    assert (noise["f0_semitones"] == 0).mean() > 0.95
    assert all((one == 0).all() for one in described(np.zeros(RATE_HZ)).values())


def test_cycles_that_change_are_heard():
    n, rng = 300, np.random.default_rng(0)
    steady = described(tilted(pulses(np.full(n, 100.0))))
    shaken = described(tilted(pulses(100 + rng.normal(0, 2, n))))
    uneven = described(tilted(pulses(np.full(n, 100.0), 10 ** rng.normal(0, 0.05, n))))
    assert steady["jitter"].max() < 0.001
    assert steady["shimmer_db"].max() < 0.05
    difference = 2 / math.sqrt(math.pi)  # of two draws from a normal distribution, on average
    assert shaken["jitter"].mean() == pytest.approx(0.02 * difference, rel=0.2)
    assert uneven["shimmer_db"].mean() == pytest.approx(difference, rel=0.2)  # 0.05 is a decibel
    assert steady["hnr_db"].mean() > max(shaken["hnr_db"].mean(), uneven["hnr_db"].mean()) + 5


@pytest.mark.parametrize("formants_hz", [(700, 1200, 2600), (320, 2200, 3000), (450, 850, 2500)])
def test_formants_of_a_vowel_are_its_own(formants_hz):
    found = described(vowel(110, (*formants_hz, 3600, 4600)))
    for number, hz in enumerate(formants_hz, 1):
        assert np.median(found[f"f{number}_hz"]) == pytest.approx(hz, rel=0.12)
        assert 0 < np.median(found[f"f{number}_bandwidth_hz"]) < 400


def test_harmonics_are_compared_in_decibels():
    seconds = np.arange(RATE_HZ) / RATE_HZ
    found = described(0.2 * np.sin(2 * np.pi * 200 * seconds) + 0.05 * np.sin(2 * np.pi * 400 * seconds))
    np.testing.assert_allclose(found["h1_h2_db"], 20 * math.log10(4), atol=0.2)


def test_what_is_about_level_and_tilt_follows_them():
    rng = np.random.default_rng(0)
    white = 0.05 * rng.standard_normal(2 * RATE_HZ)
    dark = lfilter([1], [1, -0.95], white)
    plain, soft, low = described(white), described(white / 4), described(dark)
    assert plain["loudness"].mean() == pytest.approx(4**0.66 * soft["loudness"].mean(), rel=0.01)
    assert plain["spectral_flux"].mean() == pytest.approx(4 * soft["spectral_flux"].mean(), rel=0.01)
    for name in ("alpha_ratio_db", "mfcc_1", "mfcc_2"):
        assert plain[name].mean() == pytest.approx(soft[name].mean(), abs=0.1)
    assert low["alpha_ratio_db"].mean() < plain["alpha_ratio_db"].mean() - 10
    assert low["hammarberg_index_db"].mean() > plain["hammarberg_index_db"].mean() + 10
    assert low["slope_500_1500"].mean() < plain["slope_500_1500"].mean()
    assert low["mfcc_1"].mean() > plain["mfcc_1"].mean()


@pytest.mark.parametrize("n", [1, 100, 320, 1000])
def test_a_sound_of_a_moment_has_descriptors(n):
    found = describe(torch.full((n,), 0.1))
    assert found.shape == (25, frame_count(n))
    assert found.isfinite().all()


def test_beside_opensmile_on_real_speech(test_data):
    """Not in the dev extra: its licence is non-commercial. `pip install opensmile` to run this."""
    pytest.importorskip("opensmile", reason="openSMILE is not installed (pip install opensmile; its licence!)")
    ours, theirs = [], []
    for path in sorted((test_data / "ravdess").glob("*/03-01-01-01-01-01-*.flac"))[::2]:
        sound = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        own, other = (SOURCES[source](sound).numpy() for source in ("torch", "opensmile"))
        n = min(own.shape[1] - 2, other.shape[1])
        # Its frames of 60 ms begin where those of 20 ms do; ours have the same middles.
        ours.append(np.stack([own[0, :n], own[F0, 2 : n + 2]]))
        theirs.append(other[[0, F0], :n])
    (loudness, pitch), (their_loudness, their_pitch) = np.hstack(ours), np.hstack(theirs)
    voiced = (pitch > 0) & (their_pitch > 0)
    assert np.corrcoef(loudness, their_loudness)[0, 1] > 0.9
    assert np.corrcoef(pitch[voiced], their_pitch[voiced])[0, 1] > 0.9
