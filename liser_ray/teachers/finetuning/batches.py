"""The recordings of each step, and the part of each that is heard."""

import numpy as np

from liser_ray.teachers.speech import SAMPLE_RATE_HZ, WINDOW_SAMPLES

_BATCHES_PER_BUCKET = 16


def epoch_batches(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """All recordings once, in random batches of similar lengths, in random order.

    Lengths are sorted within buckets of some batches, so that little is padding and batches still differ from epoch
    to epoch.

    Args:
        lengths: int [N], in samples.
        batch_size: the most recordings of a batch; batches differ by one at most, so that none is tiny.
        rng: of the order.

    Returns:
        Arrays of positions in ``lengths``, int64.
    """
    n_batches = -(-len(lengths) // batch_size)
    batches: list[np.ndarray] = []
    order = rng.permutation(len(lengths))
    sizes = np.diff(np.linspace(0, len(lengths), n_batches + 1).round().astype(int))
    for first in range(0, n_batches, _BATCHES_PER_BUCKET):
        in_bucket = sizes[first : first + _BATCHES_PER_BUCKET]
        bucket, order = np.split(order, [in_bucket.sum()])
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches += np.split(bucket, np.cumsum(in_bucket)[:-1])
    return [batches[i] for i in rng.permutation(n_batches)]


def crop(pcm: np.ndarray, crop_s: float, rng: np.random.Generator) -> np.ndarray:
    """A random piece of ``crop_s`` seconds of int16 [n] at 16 kHz; what is shorter comes whole."""
    n_samples = round(crop_s * SAMPLE_RATE_HZ)
    if len(pcm) <= n_samples:
        return pcm
    start = int(rng.integers(len(pcm) - n_samples + 1))
    return pcm[start : start + n_samples]


def collate(pieces: list[np.ndarray], normalised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pad pieces to one length with zeros.

    Pieces of less than 0.5 s are filled up to that first, as the labeling job fills up short sound: the convolutions
    and SpecAugment need some frames.

    Args:
        pieces: int16 [n] each, 16 kHz.
        normalised: whether each piece gets zero mean and unit variance first, as the base model's preprocessor says.

    Returns:
        Waveforms float32 [B, longest], -1..1 or normalised, and int64 [B, longest] with 1 where they are to be heard.
    """
    filled = [np.pad(piece, (0, max(0, WINDOW_SAMPLES - len(piece)))) for piece in pieces]
    longest = max(len(piece) for piece in filled)
    waveforms, mask = np.zeros((len(pieces), longest), np.float32), np.zeros((len(pieces), longest), np.int64)
    for row, piece in enumerate(filled):
        waveform = piece.astype(np.float32) / 32768
        if normalised:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        waveforms[row, : len(piece)] = waveform
        mask[row, : len(piece)] = 1
    return waveforms, mask
