"""Log-Mel spectrograms of whole recordings in one large array, from which 3-s segments are cut by the batch."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torchaudio
from torch import Tensor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.conditions import changed_pcm, random_condition
from liser_ray.runtime.display import Counting
from liser_ray.student.config import UTTERANCE, Normalisation
from liser_ray.student.features import BandNormalisation, LogMel, recording_statistics
from liser_ray.student.front_end import N_BANDS, SEGMENT_FRAMES, STRIDE_SAMPLES, TINY_POWER, frame_count

BYTES_PER_S = 4 * N_BANDS * SAMPLE_RATE_HZ / STRIDE_SAMPLES
"""Memory for a second of sound."""


@dataclass(frozen=True, eq=False)
class LogMels:
    """Spectrograms of N recordings, one after the other; those of less than 3 s are padded first.

    Arrays, so that processes can share them through Ray's object store without copies.

    Attributes:
        frames: float32 [F, 64].
        ends: int64 [N], where each recording ends in `frames`.
    """

    frames: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def starts(self, rows: np.ndarray) -> np.ndarray:
        """Where these recordings (int64 [n]) begin in `frames`, int64 [n]."""
        return np.where(rows > 0, self.ends[rows - 1], 0)

    def n_frames(self, rows: np.ndarray) -> np.ndarray:
        """How many frames these recordings (int64 [n]) have, int64 [n], 94 or more."""
        return self.ends[rows] - self.starts(rows)

    def first_frames(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Where segments of these recordings (int64 [n]) begin in them; see `segment_starts`."""
        return segment_starts(self.n_frames(rows), places)


def segment_starts(n_frames: np.ndarray, places: np.ndarray, lengths: np.ndarray | int = SEGMENT_FRAMES) -> np.ndarray:
    """First frames int64 [n] of segments at places (float [n], 0..1: from the first possible segment to the last)."""
    return (places * (n_frames - lengths + 1)).astype(np.int64)


# Trainings of one process share what they have copied to a GPU.
_frames_on: WeakKeyDictionary[LogMels, dict[torch.device, Tensor]] = WeakKeyDictionary()


class SegmentCutter:
    """Cuts segments out of spectrograms on a device, a batch at once."""

    def __init__(self, mels: LogMels, device: torch.device):
        self._mels = mels
        copies = _frames_on.setdefault(mels, {})
        if device not in copies:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the array may be read-only, and nobody writes
                copies[device] = torch.from_numpy(mels.frames).to(device)
        self._frames = copies[device]
        self._offsets = torch.arange(SEGMENT_FRAMES, device=device)

    def __call__(self, rows: np.ndarray, first_frames: np.ndarray) -> Tensor:
        """Segments float32 [n, 64, 94], from these frames of these recordings on (both int64 [n])."""
        starts = self._mels.starts(rows) + first_frames
        at = torch.from_numpy(starts).to(self._frames.device, non_blocking=True)
        return self._frames[at[:, None] + self._offsets].transpose(1, 2)

    def pieces(self, rows: np.ndarray, places: np.ndarray) -> Tensor:
        """Segments float32 [n, 64, F] of these frames of these recordings (int64 [n, F] and [n]); -1 is silence."""
        return pieces_of(self._frames, self._mels.starts(rows), places)


def pieces_of(frames: Tensor, starts: np.ndarray, places: np.ndarray) -> Tensor:
    """Segments float32 [n, 64, F] of frames float32 [T, 64]: those at these places (int64 [n, F]) from each start on.

    The starts are int64 [n]; the place -1 is silence.
    """
    at = torch.from_numpy(starts[:, None] + places).to(frames.device, non_blocking=True)
    silent = torch.from_numpy(places < 0).to(frames.device, non_blocking=True)
    return frames[at.clamp(min=0)].masked_fill(silent[:, :, None], math.log(TINY_POWER)).transpose(1, 2)


def elsewhere(waveforms: Sequence[np.ndarray], copies: int) -> Iterator[np.ndarray]:
    """All recordings in some other room, by telephone or through a codec, each time another, so many times over.

    Of and as int16 [n], 16 kHz. What becomes of a recording depends on its number and the copy's alone.
    """

    def change(number: int, copy: int) -> np.ndarray:
        return changed_pcm(waveforms[number], random_condition, np.random.default_rng((number, copy)))

    with Counting("recordings heard elsewhere", copies * len(waveforms)) as counting, ThreadPoolExecutor() as threads:
        for copy in range(copies):
            for changed in threads.map(partial(change, copy=copy), range(len(waveforms))):
                yield changed
                counting.advance()


def at_speeds(waveforms: Sequence[np.ndarray], speeds: Sequence[float]) -> Iterator[np.ndarray]:
    """All recordings at the first speed, then all at the next (Ko et al. 2015): speed changes pitch and voice as well.

    Recordings are int16 [n], 16 kHz, and become int16 [ceil(n / speed)]; above 1 is faster and higher.
    """
    with Counting("recordings at all speeds", len(speeds) * len(waveforms)) as counting:
        for speed in speeds:
            change = torchaudio.transforms.Speed(SAMPLE_RATE_HZ, speed)
            for waveform in waveforms:
                if speed == 1:
                    yield waveform
                else:
                    changed, _ = change(torch.from_numpy(waveform.astype(np.float32)))
                    yield changed.round().clamp(-32768, 32767).numpy().astype(np.int16)
                counting.advance()


@torch.inference_mode()
def compute_log_mels(
    waveforms: Iterable[np.ndarray], max_frames: int, normalisation: Normalisation, device: torch.device
) -> LogMels:
    """Spectrograms of recordings.

    Args:
        waveforms: int16 [n] each, 16 kHz.
        max_frames: no fewer than they have together; what is not used takes no memory.
        normalisation: that of whole recordings is applied here, without their padding; "corpus" needs to know the
            training recordings, and is left to the network, "speech" to what cuts segments.
        device: to compute on.
    """
    frames = np.empty((max_frames, N_BANDS), np.float32)
    ends, end = [], 0
    log_mel = LogMel(normalisation).to(device)
    for waveform in waveforms:
        found = spectrogram(waveform, log_mel, normalisation, device).T.cpu().numpy()
        frames[end : end + len(found)] = found
        end += len(found)
        ends.append(end)
    return LogMels(frames[:end], np.array(ends, np.int64))


def padded_frames(n_samples: np.ndarray) -> np.ndarray:
    """Frames of recordings of int [N] samples that are padded to 3 s, int64 [N]."""
    return np.maximum(1 + n_samples // STRIDE_SAMPLES, SEGMENT_FRAMES).astype(np.int64)


def spectrogram(waveform: np.ndarray, log_mel: LogMel, normalisation: Normalisation, device: torch.device) -> Tensor:
    """The spectrogram of a recording, at least 3 s, float32 [64, frames]; see `compute_log_mels`."""
    found = log_mel(log_mel.fit_length(to_float(waveform, device))[None])
    if normalisation in UTTERANCE:
        n_frames = torch.tensor([frame_count(len(waveform))], device=device)
        statistics = recording_statistics(found, n_frames, normalisation)
        found = BandNormalisation(normalisation)(found, statistics)
    return found[0]


def to_float(pcm: np.ndarray, device: torch.device) -> Tensor:
    """int16 [n] as float32 [n], -1..1."""
    return torch.from_numpy(pcm.astype(np.float32)).to(device) / 32768
