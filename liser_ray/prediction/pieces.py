"""A file or stream, which comes in pieces: its 3-s windows and its statistics, in bounded memory."""

import math

import numpy as np

from liser_ray.prediction.backend import Backend
from liser_ray.runtime.errors import UserError
from liser_ray.student.chunks import heard_whole
from liser_ray.student.front_end import (
    EDGE_SAMPLES,
    EVALUATION_STRIDE_S,
    EVALUATION_STRIDE_SAMPLES,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    STRIDE_SAMPLES,
    frame_count,
)


def step_samples(step_s: float) -> int:
    """Samples from window to window.

    Raises:
        UserError: the step is no multiple of 0.1 s.
    """
    n_strides = round(step_s / EVALUATION_STRIDE_S) if math.isfinite(step_s) else 0
    if n_strides < 1 or abs(n_strides * EVALUATION_STRIDE_S - step_s) > 1e-6:
        raise UserError(f"A step of {step_s} s: give a multiple of {EVALUATION_STRIDE_S} s, such as 0.1 or 0.5.")
    return n_strides * EVALUATION_STRIDE_SAMPLES


class SlidingWindow:
    """Collects samples until there are ``block_windows``, and forgets those that no later window needs."""

    def __init__(self, step_samples: int, block_windows: int):
        self._step = step_samples
        self._block_samples = SEGMENT_SAMPLES + (block_windows - 1) * step_samples
        self._block_step = block_windows * step_samples
        self._held: list[np.ndarray] = []
        self._n_held = 0
        self._skip = 0  # samples that no window hears, where windows are further apart than they are long
        self._any = False

    def add(self, samples: np.ndarray) -> list[np.ndarray]:
        """The blocks that the next samples, float32 [n], complete: float32 [48000 + (W - 1) · step] for W windows."""
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        self._held.append(samples[skipped:])
        self._n_held += len(samples) - skipped
        blocks = []
        if self._n_held >= self._block_samples:
            held = np.concatenate(self._held)
            while len(held) >= self._block_samples:
                blocks.append(held[: self._block_samples])
                self._skip = max(0, self._block_step - len(held))
                held = held[self._block_step :]
            self._any = True
            self._held, self._n_held = [held], len(held)
        return blocks

    def finish(self) -> list[np.ndarray]:
        """The block that is left. A recording of less than 3 s is one, shorter than the others."""
        held = np.concatenate([*self._held, np.zeros(0, np.float32)])
        if len(held) < SEGMENT_SAMPLES:
            return [] if self._any or not len(held) else [held]
        return [held[: len(held) - (len(held) - SEGMENT_SAMPLES) % self._step]]


class WholeRecording:
    """All of a recording as long as a network's chunks cover it, and nothing of a longer one."""

    def __init__(self, backend: Backend, n_chunks: int):
        self._backend, self._n_chunks = backend, n_chunks
        self._held: np.ndarray | None = np.zeros(0, np.float32) if n_chunks else None

    def add(self, samples: np.ndarray) -> None:
        """The next samples, float32 [n]."""
        if self._held is not None:
            is_whole = heard_whole(len(self._held) + len(samples), self._n_chunks)
            self._held = np.concatenate([self._held, samples]) if is_whole else None

    def logits(self, statistics: np.ndarray | None) -> np.ndarray | None:
        """Of the recording if it ends here, float32 [K]; None: the mean of those of its windows is its answer."""
        return None if self._held is None else self._backend.recording_logits(self._held, statistics)


class RunningStatistics:
    """What `Backend.statistics` says of a recording. It holds 3 to 6 s of sound."""

    def __init__(self, backend: Backend):
        self._backend = backend
        self._found: np.ndarray | None = None
        self._held = np.zeros(0, np.float32)
        self._next = 0  # frame of what is held that was not counted

    def add(self, samples: np.ndarray) -> None:
        """The next samples, float32 [n], any number of them."""
        self._held = np.concatenate([self._held, samples])
        n_complete = 1 + (len(self._held) - EDGE_SAMPLES) // STRIDE_SAMPLES  # whose sound has all come
        if n_complete - self._next >= SEGMENT_FRAMES:
            self._found = self._backend.statistics(self._held, (self._next, n_complete), self._found)
            # The first two frames of what stays will see mirrored sound: they are behind us.
            n_gone = min(n_complete - 2, (len(self._held) - SEGMENT_SAMPLES) // STRIDE_SAMPLES)
            self._held = self._held[n_gone * STRIDE_SAMPLES :]
            self._next = n_complete - n_gone

    def now(self) -> np.ndarray:
        """Statistics if the recording ends here; there must have been some sound."""
        return self._backend.statistics(self._held, (self._next, frame_count(len(self._held))), self._found)
