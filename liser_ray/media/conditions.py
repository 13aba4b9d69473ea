"""How a recording may come out elsewhere: cut, louder, in noise, in a room, by telephone, compressed, faster.

Waveforms are float32 [n], 16 kHz, mono, -1..1, before and after. What is random is drawn from the given generator.
"""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
import torch
import torchaudio.functional as F
from scipy.signal import fftconvolve

from liser_ray.media.audio import SAMPLE_RATE_HZ

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_LOUD = 10 ** (-35 / 20)
_FRAME = SAMPLE_RATE_HZ // 50
_TELEPHONE_HZ = (300.0, 3400.0)


def trimmed(waveform: np.ndarray) -> np.ndarray:
    """Without the silence before and after: from the first to the last 20 ms within 35 dB of the loudest."""
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not len(frames):
        return waveform
    level = np.sqrt(np.square(frames).mean(axis=1))
    loud = np.flatnonzero(level >= level.max() * _LOUD)
    return waveform[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


def middle(waveform: np.ndarray, seconds: float) -> np.ndarray:
    """So many seconds around the middle of what is left without silence; all of that if it is shorter."""
    speech = trimmed(waveform)
    n = min(len(speech), round(seconds * SAMPLE_RATE_HZ))
    start = (len(speech) - n) // 2
    return speech[start : start + n]


def gain(waveform: np.ndarray, gain_db: float) -> np.ndarray:
    """Louder or softer, beyond full scale too."""
    return (waveform * np.float32(10 ** (gain_db / 20))).astype(np.float32)


def clipped(waveform: np.ndarray, over_db: float) -> np.ndarray:
    """Cut off so far below its own peak."""
    limit = np.abs(waveform).max(initial=0) * 10 ** (-over_db / 20)
    return waveform.clip(-limit, limit).astype(np.float32)


def white_noise(waveform: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """With white noise; the ratio is of the mean powers over the whole recording."""
    return mixed(waveform, rng.standard_normal(len(waveform)).astype(np.float32), snr_db)


def babble(waveform: np.ndarray, others: Sequence[np.ndarray], snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """With others who talk, each of the same power, again and again from a random place."""
    total = np.zeros(len(waveform), np.float32)
    for other in map(trimmed, others):
        start = int(rng.integers(len(other)))
        voice = np.resize(np.roll(other, -start), len(waveform))
        total += voice / max(float(np.sqrt(np.square(voice).mean())), 1e-9)
    return mixed(waveform, total, snr_db)


def mixed(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """The sum of a recording and a noise of its length that is so many dB below it, of mean powers."""
    sound, snr = torch.from_numpy(waveform), torch.tensor(snr_db)
    return F.add_noise(sound, torch.from_numpy(noise), snr).numpy().astype(np.float32)


def reverberation(waveform: np.ndarray, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    """In a room whose sound falls by 60 dB in ``decay_s``: the direct sound, and noise that decays (Polack's model).

    The direct sound has as much energy as all the rest. It is as long as before.
    """
    n = round(decay_s * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response = np.append(1.0, tail[1:] / np.linalg.norm(tail[1:]))
    return fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)


def telephone(waveform: np.ndarray) -> np.ndarray:
    """By telephone: 300 to 3,400 Hz, 8 kHz, 8-bit A-law (ITU-T G.711)."""
    sound = torch.from_numpy(waveform)
    for _ in range(2):
        sound = F.highpass_biquad(sound, SAMPLE_RATE_HZ, _TELEPHONE_HZ[0])
        sound = F.lowpass_biquad(sound, SAMPLE_RATE_HZ, _TELEPHONE_HZ[1])
    return encoded(sound.numpy(), "pcm_alaw", 8_000)


def opus(waveform: np.ndarray, bits_per_s: int) -> np.ndarray:
    """Compressed by Opus, as messengers and calls do it."""
    return encoded(waveform, "libopus", 48_000, bits_per_s)


def speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Played so many times as fast; pitch and voice change with it."""
    whole = Fraction(factor).limit_denominator(100)
    changed = F.resample(torch.from_numpy(waveform), whole.numerator, whole.denominator)
    return changed.numpy().astype(np.float32)


def encoded(waveform: np.ndarray, codec: str, rate_hz: int, bits_per_s: int = 0) -> np.ndarray:
    """What is left after one of FFmpeg's codecs, of the same length."""
    peak = max(1.0, float(np.abs(waveform).max(initial=0)))
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as out:
        stream = out.add_stream(codec, rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if bits_per_s:
            stream.bit_rate = bits_per_s
        frame = av.AudioFrame.from_ndarray((waveform / peak)[None].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    file.seek(0)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(file, "r") as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames if frame is not None])
    sound = np.pad(sound[: len(waveform)], (0, max(0, len(waveform) - len(sound))))
    return sound.astype(np.float32) * np.float32(peak)


def varied(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As other people's recordings are: half of all without the silence around, in a `random_condition`, half in noise.

    White noise of 0 to 40 dB.
    """
    if rng.random() < 0.5:
        waveform = trimmed(waveform)
    waveform = random_condition(waveform, rng)
    return white_noise(waveform, rng.uniform(0, 40), rng) if rng.random() < 0.5 else waveform


def changed_pcm(pcm: np.ndarray, change: Change, rng: np.random.Generator) -> np.ndarray:
    """A recording int16 [n] after a change that is drawn, int16 [m]."""
    changed = change(pcm.astype(np.float32) / 32768, rng)
    return (changed.clip(-1, 1) * 32767).round().astype(np.int16)


def random_condition(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In a room (for half of all), and then by telephone, through Opus, clipped, or nothing more."""
    if rng.random() < 0.5:
        waveform = reverberation(waveform, rng.uniform(0.2, 0.8), rng)
    how = rng.integers(4)
    if how == 0:
        return telephone(waveform)
    if how == 1:
        return opus(waveform, int(rng.integers(8_000, 32_000)))
    return clipped(waveform, rng.uniform(3, 15)) if how == 2 else waveform
