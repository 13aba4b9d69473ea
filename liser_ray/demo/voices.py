"""Synthetic speech: a buzzing source and noise, shaped by formants that move from syllable to syllable.

No words, but the things that carry emotion in a voice: pitch, its range and its course over a phrase, speed, pauses,
loudness, spectral tilt, roughness and breath. Voice activity detectors take it for speech.

Sources of the parts: source-filter theory (Fant 1960), the glottal pulse of KLGLOTT88 (Klatt & Klatt 1990), vowel
formants near Peterson & Barney 1952, prosody of emotions along the lines of Scherer 2003.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import istft, lfilter, stft

SAMPLE_RATE_HZ = 16_000
TRACK_RATE_HZ = 100  # of the articulation tracks

_WINDOW, _HOP = 512, 128  # short enough (32 ms) to follow a syllable
_OPEN_SHARE = 0.6  # of a period in which the vocal folds are apart
_VOWEL_FORMANTS_HZ = np.array(
    [[730, 1090, 2440], [530, 1840, 2480], [280, 2280, 2950], [570, 870, 2410], [320, 900, 2240], [660, 1700, 2400]]
)
_BANDWIDTHS_HZ = np.array([80.0, 100.0, 140.0, 200.0])
_NASAL_FORMANTS_HZ = np.array([270, 1200, 2200])
_GLIDE_FORMANTS_HZ = np.array([[300, 2100, 2800], [320, 700, 2200], [380, 1200, 1700]])


CONSONANTS = ("fricative", "stop", "nasal", "glide")


class Syllable(NamedTuple):
    """What is said: a row of the vowels' formants, and one of `CONSONANTS`."""

    vowel: int
    consonant: str


@dataclass(frozen=True)
class Voice:
    """What makes a speaker."""

    pitch_hz: float  # of neutral speech
    formant_scale: float  # 1 is an adult man; shorter vocal tracts are above
    rate: float = 1.0  # speed relative to others
    breath: float = 0.03  # share of noise in the source


@dataclass(frozen=True)
class Prosody:
    """What makes an emotion audible; factors are relative to the speaker's own neutral voice."""

    pitch: float  # factor
    pitch_range: float  # standard deviation of syllable accents, in octaves
    phrase_slope: float  # from the start to the end of a phrase, in octaves
    syllables_per_s: float
    level_db: float  # RMS below full scale
    tilt: float  # pole of the low-pass on the source, 0 (bright) to 1 (dull)
    formants: float  # factor; a smile shortens the vocal tract, drooping lips lengthen it
    pause_s: float
    roughness: float  # jitter of the period, share
    breath: float  # factor


PROSODY = {
    "neutral": Prosody(1.00, 0.08, -0.15, 4.6, -24.0, 0.50, 1.00, 0.16, 0.012, 0.8),
    "happy": Prosody(1.32, 0.30, 0.05, 5.4, -20.0, 0.30, 1.11, 0.12, 0.012, 0.8),
    "sad": Prosody(0.86, 0.06, -0.25, 3.5, -27.0, 0.74, 0.93, 0.18, 0.030, 2.5),
    "angry": Prosody(1.15, 0.20, -0.35, 5.6, -15.0, 0.02, 1.00, 0.10, 0.090, 0.5),
    "surprised": Prosody(1.65, 0.36, 0.50, 4.6, -21.0, 0.45, 1.02, 0.12, 0.015, 3.0),
}


@dataclass(frozen=True)
class Utterance:
    """A waveform and how far the mouth is open while it is spoken."""

    waveform: np.ndarray  # float32 [n], 16 kHz, -1..1
    mouth: np.ndarray  # float32 [n_track], 100 Hz, 0 (closed) to 1 (wide open)


@dataclass
class _Tracks:
    """Articulation at 100 Hz; each array is [n_track] (formants [n_track, 3])."""

    formants_hz: np.ndarray
    voicing: np.ndarray
    noise: np.ndarray
    noise_hz: np.ndarray
    pitch_octaves: np.ndarray


def random_voice(rng: np.random.Generator) -> Voice:
    """A speaker: low voices have long vocal tracts, high ones short."""
    size = rng.uniform(0, 1)
    return Voice(
        pitch_hz=float(100 * 2 ** (0.7 * size + rng.normal(0, 0.06))),
        formant_scale=float(1.0 + 0.17 * size + rng.normal(0, 0.02)),
        rate=float(rng.uniform(0.92, 1.08)),
        breath=float(rng.uniform(0.02, 0.05)),
    )


def speak(
    voice: Voice, emotion: str, duration_s: float, rng: np.random.Generator, said: Sequence[Syllable] = ()
) -> Utterance:
    """An utterance of a length in one of `liser_ray.demo.people.EMOTIONS`.

    What is said is given, and begun again until the time is full, or comes from `rng` like all the rest.
    """
    prosody = _varied(PROSODY[emotion], rng)
    tracks = _articulate(voice, prosody, round(duration_s * TRACK_RATE_HZ), rng, said)
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    at_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    track_s = np.arange(len(tracks.voicing)) / TRACK_RATE_HZ

    pitch_hz = voice.pitch_hz * prosody.pitch * 2 ** np.interp(at_s, track_s, tracks.pitch_octaves)
    pulses = _glottal_pulses(pitch_hz, prosody.roughness, rng)
    breath = rng.standard_normal(n_samples) * voice.breath * prosody.breath
    voiced = lfilter([1 - prosody.tilt], [1, -prosody.tilt], pulses)
    source = (voiced / voiced.std() + breath) * np.interp(at_s, track_s, tracks.voicing)
    hiss = rng.standard_normal(n_samples) * np.interp(at_s, track_s, tracks.noise)

    frequency_hz, frame_s, source_spectrum = stft(source, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)
    hiss_spectrum = stft(hiss, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[2]
    formants_hz = np.stack([np.interp(frame_s, track_s, tracks.formants_hz[:, k]) for k in range(3)], axis=1)
    noise_hz = np.interp(frame_s, track_s, tracks.noise_hz)
    spectrum = source_spectrum * _formant_gain(frequency_hz, formants_hz * voice.formant_scale * prosody.formants)
    spectrum += hiss_spectrum * _noise_gain(frequency_hz, noise_hz * voice.formant_scale)
    waveform = istft(spectrum, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[1][:n_samples]

    level = 10 ** (prosody.level_db / 20)
    waveform = waveform * (level / np.sqrt(np.mean(waveform**2))) + rng.standard_normal(n_samples) * 5e-4
    # A wider first formant is a wider mouth.
    openness = np.clip((tracks.formants_hz[:, 0] - 230) / 450, 0, 1.1) * np.clip(tracks.voicing, 0, 1)
    mouth = np.clip(gaussian_filter1d(openness, 2.5), 0, 1)
    return Utterance(np.tanh(waveform).astype(np.float32), mouth.astype(np.float32))


def _varied(prosody: Prosody, rng: np.random.Generator) -> Prosody:
    """The same emotion is never spoken twice alike."""
    return Prosody(
        pitch=prosody.pitch * 2 ** rng.normal(0, 0.06),
        pitch_range=prosody.pitch_range * rng.uniform(0.7, 1.3),
        phrase_slope=prosody.phrase_slope + rng.normal(0, 0.08),
        syllables_per_s=prosody.syllables_per_s * rng.uniform(0.9, 1.1),
        level_db=prosody.level_db + rng.normal(0, 1.5),
        tilt=float(np.clip(prosody.tilt + rng.normal(0, 0.04), 0.0, 0.96)),
        formants=prosody.formants * 2 ** rng.normal(0, 0.02),
        pause_s=prosody.pause_s * rng.uniform(0.7, 1.3),
        roughness=prosody.roughness * rng.uniform(0.7, 1.3),
        breath=prosody.breath * rng.uniform(0.7, 1.3),
    )


def _articulate(
    voice: Voice, prosody: Prosody, n_track: int, rng: np.random.Generator, said: Sequence[Syllable]
) -> _Tracks:
    """Phrases of syllables with pauses between, until the time is full."""
    formants_hz = np.tile(np.array([450.0, 1400.0, 2400.0]), (n_track, 1))
    voicing, noise = np.zeros(n_track), np.zeros(n_track)
    noise_hz, pitch_octaves = np.full(n_track, 4000.0), np.zeros(n_track)
    syllables = cycle(said)
    at = int(TRACK_RATE_HZ * rng.uniform(0.05, 0.12))
    while at < n_track:
        phrase_start, n_syllables = at, int(rng.integers(5, 10))
        for _ in range(n_syllables):
            syllable_s = rng.uniform(0.8, 1.25) / (prosody.syllables_per_s * voice.rate)
            length = max(int(TRACK_RATE_HZ * syllable_s), 8)
            onset = min(int(rng.integers(4, 8)), length // 2)
            consonant, vowel = slice(at, at + onset), slice(at + onset, at + length)
            accent = rng.normal(0, prosody.pitch_range)
            pitch_octaves[at : at + length] += accent
            drawn = int(rng.integers(len(_VOWEL_FORMANTS_HZ)))
            given = next(syllables, None)
            formants_hz[vowel] = _VOWEL_FORMANTS_HZ[given.vowel if given else drawn]
            voicing[vowel] = rng.uniform(0.8, 1.1) * 2 ** (0.5 * accent)
            kind = rng.choice(CONSONANTS, p=[0.25, 0.25, 0.25, 0.25])
            kind = given.consonant if given else kind
            if kind == "fricative":
                noise[consonant], noise_hz[consonant] = rng.uniform(0.25, 0.5), rng.choice([2500, 4500, 6000])
            elif kind == "stop":
                burst = slice(at + onset - 1, at + onset + 1)
                noise[burst], noise_hz[burst] = 0.8, rng.choice([1000, 1800, 4000])
            elif kind == "nasal":
                formants_hz[consonant], voicing[consonant] = _NASAL_FORMANTS_HZ, 0.35
            else:
                formants_hz[consonant], voicing[consonant] = _GLIDE_FORMANTS_HZ[rng.integers(3)], 0.6
            at += length
            if at >= n_track:
                break
        phrase = slice(phrase_start, min(at, n_track))
        pitch_octaves[phrase] += np.linspace(-0.5, 0.5, phrase.stop - phrase.start) * prosody.phrase_slope
        at += int(TRACK_RATE_HZ * prosody.pause_s)
    return _Tracks(
        formants_hz=gaussian_filter1d(formants_hz, 2.5, axis=0),
        voicing=gaussian_filter1d(voicing, 1.2),
        noise=gaussian_filter1d(noise, 0.7),
        noise_hz=noise_hz,
        pitch_octaves=gaussian_filter1d(pitch_octaves, 4.0),
    )


def _glottal_pulses(pitch_hz: np.ndarray, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """Derivative of the glottal flow, float64 [n]: 2 t - 3 t^2 while the folds are open (KLGLOTT88), else 0."""
    wander = gaussian_filter1d(rng.standard_normal(len(pitch_hz)), SAMPLE_RATE_HZ / 400)
    jittered_hz = pitch_hz * (1 + roughness * wander / wander.std())
    phase = np.cumsum(jittered_hz) / SAMPLE_RATE_HZ
    t = (phase % 1.0) / _OPEN_SHARE
    # Pulses of changing strength: without them a detector takes slow, even voices for a machine's hum.
    shimmer = gaussian_filter1d(rng.standard_normal(len(pitch_hz)), SAMPLE_RATE_HZ / 270)
    return np.where(t < 1, 2 * t - 3 * t**2, 0.0) * (1 + 0.25 * shimmer / shimmer.std())


def _formant_gain(frequency_hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Magnitude of the vocal tract, [n_frequency, n_frame]: resonators in a row, each with gain 1 at 0 Hz."""
    fourth_hz = np.full(len(formants_hz), 3500.0)
    gain = np.ones((len(frequency_hz), len(formants_hz)))
    for centre_hz, width_hz in zip([*formants_hz.T, fourth_hz], _BANDWIDTHS_HZ, strict=True):
        f, c = frequency_hz[:, None], centre_hz[None, :]
        gain *= (c**2 + width_hz**2) / np.sqrt((f**2 - c**2) ** 2 + (2 * width_hz * f) ** 2 + width_hz**4)
    return gain


def _noise_gain(frequency_hz: np.ndarray, centre_hz: np.ndarray) -> np.ndarray:
    """Magnitude of a fricative's noise, [n_frequency, n_frame]: a hump of about an octave."""
    octaves = np.log2(np.maximum(frequency_hz, 50.0)[:, None] / centre_hz[None, :])
    return np.exp(-0.5 * (octaves / 0.5) ** 2)
