"""How much the loudness of speech varies: not how loud it is, and not how much silence is around it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from talking_heads import voice

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.energy import energy_variation
from liser_ray.teachers.kinds import read_teachers

RATE_HZ = 16_000


def bursts(levels_db, seed: int = 0, pause_s: float = 0.0) -> np.ndarray:
    """Noise that is 0.15 s at each of these levels, with digital silence between, float64 [n]."""
    rng = np.random.default_rng(seed)
    parts = []
    for level in levels_db:
        parts += [rng.normal(size=2400) * 10 ** (level / 20) / 10, np.zeros(round(pause_s * RATE_HZ))]
    return np.concatenate(parts)


def tone(hz: float, n: int = 48_000) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hz / RATE_HZ * np.arange(n))


@settings(max_examples=30, deadline=None)
@given(st.floats(-40, 40), st.integers(0, 20))
def test_loudness_as_a_whole_counts_for_nothing(gain_db, seed):
    speech = bursts(np.random.default_rng(seed).uniform(-15, 0, 20), seed)
    assert energy_variation(speech * 10 ** (gain_db / 20)) == pytest.approx(energy_variation(speech), rel=1e-9)


@pytest.mark.parametrize("gain_db", [-20, 20])
def test_a_voice_that_is_louder_or_softer_has_the_same_variation_as_stored_sound_too(gain_db):
    sound = voice(3.0, seed=1)
    stored = [np.round(one / np.abs(one).max() * 3000).astype(np.int16) for one in (sound, sound)]
    stored[1] = np.round(sound / np.abs(sound).max() * 3000 * 10 ** (gain_db / 20)).astype(np.int16)
    plain, other = (energy_variation(one / 32768) for one in stored)
    assert other == pytest.approx(plain, abs=0.1)  # dB: what is 300 at its peak is rounded to whole numbers


@pytest.mark.parametrize("noise_db", [-np.inf, -60.0, -35.0])
@pytest.mark.parametrize("where", ["around", "inside"])
def test_silence_is_no_variation(where, noise_db):
    speech = bursts([0, -6, 0, -9, -3, 0, -6, -3, 0, -9])
    silent = np.zeros(len(speech) // 2)
    parts = [silent, speech, silent] if where == "around" else [speech[:12_000], silent, silent, speech[12_000:]]
    sound = np.concatenate(parts)
    if np.isfinite(noise_db):
        sound = sound + np.random.default_rng(5).normal(size=len(sound)) * 10 ** (noise_db / 20) / 10
    # Four frames or so lie across an edge of the silence.
    assert energy_variation(sound) == pytest.approx(energy_variation(speech), abs=0.6)


@pytest.mark.parametrize("hz", [100, 137, 440, 3000])
def test_a_steady_tone_varies_by_nothing(hz):
    assert energy_variation(tone(hz)) < 0.05


def test_what_goes_up_and_down_varies_by_that_much():
    steady, shallow, deep = (energy_variation(bursts([0, -depth] * 10)) for depth in (0, 4, 12))
    assert steady < 1
    assert shallow == pytest.approx(2, abs=0.5)
    assert deep == pytest.approx(6, abs=0.5)


def test_a_voice_varies_more_than_a_tone_or_a_hum():
    hum = tone(100) + np.random.default_rng(0).normal(size=48_000) * 1e-3
    assert energy_variation(voice(3.0, seed=2)) > 5 * energy_variation(hum)


def test_digital_silence_has_a_value():
    assert energy_variation(np.zeros(48_000)) == 0


def test_it_is_given_without_an_address_and_has_heard_nobody():
    (entry,) = read_teachers(["energy=energy:"])
    teacher = entry.load(torch.device("cpu"))
    (target,) = teacher.targets
    windows = np.stack([np.zeros(48_000), tone(200), voice(3.0)]).astype(np.float32)
    answer = teacher(windows)["energy"].values
    assert (answer.shape, answer.dtype) == ((3, 1), np.float32)
    assert answer[0, 0] < answer[1, 0] < answer[2, 0]
    assert (target.kind, target.window_s, target.tuned_on.heard) == ("scalar", 3.0, ())


@pytest.mark.parametrize("teachers", [["energy=energy:weights.pth"], {"energy": {"kind": "energy", "range_db": 3}}])
def test_it_has_no_settings(teachers):
    with pytest.raises(UserError, match="energy"):
        read_teachers(teachers)
