"""25 low-level descriptors of a voice every 10 ms, of the kind of eGeMAPS (Eyben et al. 2016, table 1).

They are computed by their definitions in the literature, not by openSMILE's code; how far the two go together, one by
one, is in benchmarks/results/prosody.md.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import create_dct, melscale_fbanks

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.teachers.prosody.pitch import LOWEST_HZ, find_pitch, find_regularity, power_spectrum

NAMES = (
    "loudness",
    "alpha_ratio_db",
    "hammarberg_index_db",
    "slope_0_500",
    "slope_500_1500",
    "spectral_flux",
    "mfcc_1",
    "mfcc_2",
    "mfcc_3",
    "mfcc_4",
    "f0_semitones",
    "jitter",
    "shimmer_db",
    "hnr_db",
    "h1_h2_db",
    "h1_a3_db",
    "f1_hz",
    "f1_bandwidth_hz",
    "f1_amplitude_db",
    "f2_hz",
    "f2_bandwidth_hz",
    "f2_amplitude_db",
    "f3_hz",
    "f3_bandwidth_hz",
    "f3_amplitude_db",
)
HOP_SAMPLES = SAMPLE_RATE_HZ // 100
_FRAME = 2 * HOP_SAMPLES
_VOICE_FRAME = 6 * HOP_SAMPLES
"""For what has to do with the voice's pitch; its middle is that of the short frame."""
_SIDE = (_VOICE_FRAME - _FRAME) // 2
_FFT, _VOICE_FFT = 512, 2048
_FULL_SCALE = 32768.0
_N_MEL = 26
_MEL_HZ = (20.0, 8000.0)
_SPECTRUM_HZ = 5000.0
_FORMANT_RATE_HZ, _LPC_ORDER, _PRE_EMPHASIS = 11_000, 11, 0.97
_N_FORMANTS = 3


def frame_count(n_samples: int) -> int:
    """Frames of 20 ms, one each 10 ms, that lie in so many samples; a shorter sound has one."""
    return 1 + max(0, n_samples - _FRAME) // HOP_SAMPLES


@torch.inference_mode()
def describe(sound: Tensor) -> Tensor:
    """The descriptors of a recording.

    Those of the spectrum are of 20-ms frames (Hamming), those of the voice of 60 ms around the same middle (Hann); all
    are means over three successive frames, those of the voice over the voiced ones of the three.

    Args:
        sound: float32 [n], 16 kHz, -1..1.

    Returns:
        Float32 [25, T] in the order of `NAMES`, T of `frame_count`. Where there is no voice those from ``f0_semitones``
        to ``h1_a3_db`` and the formants' amplitudes are 0, and in digital silence all are.
    """
    n_frames = frame_count(len(sound))
    padded = functional.pad(sound, (_SIDE, _SIDE + max(0, _FRAME - len(sound))))
    long = padded.unfold(0, _VOICE_FRAME, HOP_SAMPLES)[:n_frames]
    short = long[:, _SIDE : _SIDE + _FRAME] * torch.hamming_window(_FRAME, periodic=False, device=sound.device)
    power = power_spectrum(short, _FFT)
    formants = _formants(power)
    voiced, of_voice, amplitudes = _voice(sound, long, formants)
    has_formants = formants[:, 0] > 0
    spectral = [_smooth(one) for one in (*_spectrum(power), *_mfcc(power))]
    of_formants = [
        row
        for k in range(_N_FORMANTS)
        for row in (
            _smooth(formants[:, 2 * k], has_formants),
            _smooth(formants[:, 2 * k + 1], has_formants),
            _smooth(amplitudes[k], voiced),
        )
    ]
    return torch.stack([*spectral, *(_smooth(one, voiced) for one in of_voice), *of_formants])


def _spectrum(power: Tensor) -> list[Tensor]:
    """The first six descriptors, of power float32 [T, 257], each float32 [T].

    Loudness: the sum of 26 Mel bands, each weighed by how well the ear hears it and compressed (Hermansky 1990,
    "Perceptual linear predictive analysis of speech", eq. 5 and 8). Alpha ratio: energy in 1 to 5 kHz by that in 50 Hz
    to 1 kHz. Hammarberg index: the largest peak below 2 kHz by that in 2 to 5 kHz. Slopes: of a line through the
    levels in dB, per Hz. Flux: how far the magnitudes up to 5 kHz are from those of the frame before.
    """
    hz = torch.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ, device=power.device)

    def band(low: float, high: float) -> Tensor:
        return power[:, (hz >= low) & (hz <= high)]

    low, high = (2595 * math.log10(1 + one / 700) for one in _MEL_HZ)
    mel = torch.linspace(low, high, _N_MEL + 2, device=power.device)[1:-1]
    squared = (2 * math.pi * 700 * (10 ** (mel / 2595) - 1)).square()
    heard = (squared + 56.8e6) * squared.square() / ((squared + 6.3e6).square() * (squared + 0.38e9))
    loudness = (_mel_bands(power) * heard).pow(0.33).sum(1)
    flux = functional.pad(band(0, _SPECTRUM_HZ).sqrt().diff(dim=0), (0, 0, 1, 0)).norm(dim=1)
    return [
        loudness,
        _decibels(band(1000, _SPECTRUM_HZ).sum(1)) - _decibels(band(50, 1000).sum(1)),
        _decibels(band(0, 2000).amax(1)) - _decibels(band(2000, _SPECTRUM_HZ).amax(1)),
        *(_slope(_decibels(band(*one)), hz[(hz >= one[0]) & (hz <= one[1])]) for one in ((0, 500), (500, 1500))),
        flux,
    ]


def _mfcc(power: Tensor) -> list[Tensor]:
    """Mel-frequency cepstral coefficients 1 to 4, each float32 [T]."""
    levels = (_mel_bands(power) * _FULL_SCALE**2).clamp_min(1).log()
    cosines = create_dct(5, _N_MEL, "ortho").to(power.device)
    return list((levels @ cosines).unbind(1)[1:])


def _mel_bands(power: Tensor) -> Tensor:
    """Float32 [T, 26] of [T, 257]."""
    return power @ melscale_fbanks(_FFT // 2 + 1, *_MEL_HZ, _N_MEL, SAMPLE_RATE_HZ).to(power.device)


def _decibels(power: Tensor) -> Tensor:
    """Level above a floor that is about what rounding to 16 bits adds, 0 and more."""
    return 10 * torch.log10((power * _FULL_SCALE**2).clamp_min(1))


def _slope(levels: Tensor, hz: Tensor) -> Tensor:
    """Of a line through levels float32 [T, F] at these frequencies, by least squares; float32 [T]."""
    around = hz - hz.mean()
    return levels @ around / around.square().sum()


def _formants(power: Tensor) -> Tensor:
    """Frequency and bandwidth in Hz of the lowest three resonances, float32 [T, 6]; 0 where there are fewer.

    Linear prediction of order 11 from the spectrum up to 5.5 kHz (Makhoul 1975, "Spectral linear prediction"), after a
    pre-emphasis, without which it takes the harmonics of high voices for resonances.
    """
    bins = _FORMANT_RATE_HZ * _FFT // (2 * SAMPLE_RATE_HZ) + 1
    angle = torch.linspace(0, math.pi, bins, dtype=torch.float64, device=power.device)
    emphasised = power[:, :bins] * (1 + _PRE_EMPHASIS**2 - 2 * _PRE_EMPHASIS * angle.cos())
    correlation = torch.fft.irfft(emphasised, 2 * (bins - 1))[:, : _LPC_ORDER + 1]
    silent = correlation[:, 0] <= 1e-12
    correlation = correlation / correlation[:, :1].clamp_min(1e-12)
    correlation[:, 0] = 1 + 1e-6  # a little noise, so that there is one solution
    lags = torch.arange(_LPC_ORDER, device=power.device)
    predictor = torch.linalg.solve(correlation[:, (lags[:, None] - lags).abs()], correlation[:, 1:])
    companion = torch.zeros(len(power), _LPC_ORDER, _LPC_ORDER, dtype=torch.float64, device=power.device)
    companion[:, 0], companion[:, lags[1:], lags[:-1]] = predictor, 1
    roots = torch.linalg.eigvals(companion.cpu()).to(power.device)  # PyTorch takes many small ones one by one on a GPU
    frequency = roots.angle() * _FORMANT_RATE_HZ / (2 * math.pi)
    bandwidth = -roots.abs().clamp_min(1e-9).log() * _FORMANT_RATE_HZ / math.pi
    frequency = frequency.masked_fill((frequency < LOWEST_HZ) | silent[:, None], torch.inf)
    frequency = frequency.masked_fill(frequency > _FORMANT_RATE_HZ / 2 - LOWEST_HZ, torch.inf)
    lowest, places = frequency.sort(dim=1)
    found = torch.stack([lowest, bandwidth.gather(1, places)], dim=2)[:, :_N_FORMANTS]
    return torch.where(found[:, :, :1].isfinite(), found, 0.0).flatten(1).float()


def _voice(sound: Tensor, long: Tensor, formants: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Which frames are voiced, bool [T]; descriptors 11 to 16, and the formants' amplitudes, each float32 [T].

    Harmonics: H1 is at F0, H2 at twice that, A1 to A3 are the largest within half of F0 around a formant; each level
    is the largest of the spectrum nearby.
    """
    pitch = find_pitch(long)
    voiced = pitch.period > 0
    f0_hz = torch.where(voiced, SAMPLE_RATE_HZ / pitch.period.clamp_min(1), 0.0)
    centres = torch.arange(len(long), device=sound.device) * HOP_SAMPLES + _FRAME // 2
    regularity = find_regularity(sound, centres, pitch.period)
    hz = torch.arange(0, _FORMANT_RATE_HZ / 2, SAMPLE_RATE_HZ / _VOICE_FFT, device=sound.device)
    window = torch.hann_window(_VOICE_FRAME, device=sound.device)
    levels = _decibels(power_spectrum(long * window, _VOICE_FFT)[:, : len(hz)])

    def level_at(around_hz: Tensor, share_of_f0: float) -> Tensor:
        reach = share_of_f0 * f0_hz + hz[1] / 2  # so that there is at least one
        return levels.masked_fill((hz - around_hz[:, None]).abs() > reach[:, None], 0.0).amax(1)

    first, second = level_at(f0_hz, 0.25), level_at(2 * f0_hz, 0.25)
    amplitudes = [level_at(formants[:, 2 * k], 0.5) for k in range(_N_FORMANTS)]
    periodic = pitch.periodicity.clamp(1e-3, 1 - 1e-4)
    of_voice = [
        12 * torch.log2(f0_hz.clamp_min(27.5) / 27.5),
        regularity.jitter,
        regularity.shimmer_db,
        10 * torch.log10(periodic / (1 - periodic)),  # Boersma 1993, eq. 4
        first - second,
        first - amplitudes[2],
    ]
    return voiced, of_voice, [one - first for one in amplitudes]


def _smooth(values: Tensor, where: Tensor | None = None) -> Tensor:
    """Means over three frames, float32 [T]: over all, or over those ``where``, and 0 elsewhere."""
    weight = torch.ones_like(values) if where is None else where.float()
    ones = values.new_ones(1, 1, 3)
    total, count = (functional.conv1d(one[None, None], ones, padding=1)[0, 0] for one in (values * weight, weight))
    return torch.where(weight > 0, total / count.clamp_min(1), 0.0)
