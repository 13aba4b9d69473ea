"""The network in onnxruntime, from a file that `liser_ray.prediction.onnx_export` wrote. No PyTorch."""

from typing import Any

import numpy as np
import onnxruntime

from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard
from liser_ray.student.front_end import EVALUATION_STRIDE_SAMPLES, SEGMENT_SAMPLES, window_count

CARD_KEY = "liser_ray.student"
"""Of the model's metadata: the card as JSON, without the training's history."""

_BATCH_WINDOWS = 8  # as many as stay in a CPU's caches


class OnnxClassifier:
    """A student's ONNX file.

    Args:
        model: the file's bytes.
        where: names it in errors.
        n_threads: to use; 0: as many as there are cores.

    Attributes:
        card: of the student.

    Raises:
        UserError: it is no ONNX file, or not of a student.
    """

    def __init__(self, model: bytes, where: str, n_threads: int = 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.log_severity_level = 3  # it warns of inputs with defaults
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise UserError(f"{where} is no ONNX file that onnxruntime runs: {error}") from error
        card = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if card is None:
            raise UserError(f"{where} is not of a student. Write one with: liser-ray export --model FOLDER")
        self.card = StudentCard.parse(card, where)

    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        """See `liser_ray.prediction.classifier.WindowClassifier`."""
        inputs: dict[str, Any] = {} if statistics is None else {"band_statistics": statistics}
        # The graph's windows are 0.1 s apart: those that are further apart are sounds of their own.
        batch = _BATCH_WINDOWS if step_samples == EVALUATION_STRIDE_SAMPLES else 1
        logits = []
        for first in range(0, window_count(len(samples), step_samples), batch):
            start = first * step_samples
            end = start + SEGMENT_SAMPLES + (batch - 1) * step_samples
            inputs["waveform"] = samples[start:end]
            logits.append(self._session.run(["window_logits"], inputs)[0])
        return np.concatenate(logits)
