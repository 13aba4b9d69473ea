"""What runs a student's network: PyTorch or onnxruntime behind the same call."""

from typing import Protocol

import numpy as np


class WindowClassifier(Protocol):
    """A student's network over the 3-s windows of some sound."""

    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        """Logits of each window, float32 [W, K].

        Args:
            samples: float32 [48000 + (W - 1) · step] or up to a step more, 16 kHz, -1..1.
            step_samples: from window to window, a multiple of 1600.
            statistics: mean and deviation of each band over the recording, float32 [2, 64]; for a network with
                normalisation by utterance, which can't do without.
        """
        ...
