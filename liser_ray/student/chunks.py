"""Dynamic chunking: recordings of any length as the same number of chunks of the same length. No PyTorch.

Lin and Busso 2021 ("Chunk-Level Speech Emotion Recognition", IEEE Transactions on Affective Computing): of T frames
N chunks of w frames begin s = (T - w) / (N - 1) frames apart, so that they overlap as much as the recording is short;
N is the longest recording's length divided by w, rounded up. Theirs, as these, are of a second. Here chunk k begins at
frame ⌊k · (T - w) / (N - 1)⌋: the first with the recording, the last ends with it.
"""

import numpy as np

from liser_ray.student.front_end import SEGMENT_FRAMES, frame_count

CHUNK_FRAMES = 32
"""1.024 s, eight steps of the network's LSTM."""

MIN_CHUNKS = -(-SEGMENT_FRAMES // CHUNK_FRAMES)
"""Fewer leave gaps in 3 s, the shortest that is heard."""


def chunk_frames(n_frames: np.ndarray, n_chunks: int) -> np.ndarray:
    """The frames of each recording's chunks, one after the other, int64 [n, N · 32].

    Args:
        n_frames: of the recordings, int64 [n], 32 or more. Those of more than N · 32 have gaps between their chunks.
        n_chunks: N, 2 or more.
    """
    starts = np.arange(n_chunks) * (n_frames[:, None] - CHUNK_FRAMES) // (n_chunks - 1)
    return (starts[:, :, None] + np.arange(CHUNK_FRAMES)).reshape(len(n_frames), n_chunks * CHUNK_FRAMES)


def reach_frames(n_chunks: int) -> int:
    """Frames of the longest recording that N chunks cover; without chunks (0) of a segment, 94."""
    return n_chunks * CHUNK_FRAMES if n_chunks else SEGMENT_FRAMES


def heard_whole(n_samples: int, n_chunks: int) -> bool:
    """Whether a recording of so many samples is answered by chunks over all of it, not by its 3-s windows."""
    return bool(n_chunks) and frame_count(n_samples) <= reach_frames(n_chunks)
