"""What runs a student's network: onnxruntime, here, or PyTorch (`liser_ray.prediction.torch_backend`)."""

from typing import Protocol

import numpy as np
import onnxruntime

from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard
from liser_ray.student.front_end import EVALUATION_STRIDE_SAMPLES, SEGMENT_SAMPLES, window_count

CARD_KEY = "liser_ray.student"
"""Of an ONNX model's metadata: the card as JSON, without the training's history."""

_BATCH_WINDOWS = 8  # as many as stay in a CPU's caches


class Backend(Protocol):
    """A student's front end and network. All sound is float32 [n], 16 kHz, -1..1."""

    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        """Logits of the 3-s windows, and values of attributes after them, float32 [W, K + A].

        Args:
            samples: n is 48000 + (W - 1) · step or up to a step more; or less than 48000, a recording of one window.
            step_samples: from window to window, a multiple of 1600.
            statistics: of the recording, see `statistics`; for a network that normalises by it.
        """

    def recording_logits(self, samples: np.ndarray, statistics: np.ndarray | None) -> np.ndarray:
        """The same of a recording whose all is heard at once, float32 [K + A]; of a network with chunks that cover it.

        Args:
            samples: all of the recording (`liser_ray.student.chunks.heard_whole`).
            statistics: see `window_logits`.
        """

    def statistics(self, samples: np.ndarray, frames: tuple[int, int], before: np.ndarray | None) -> np.ndarray:
        """What a network has to know of the recording if it normalises by that, float32 [3, 64].

        It is for each band the weight of all frames, their mean and their standard deviation.

        Args:
            samples: all of the recording, or a stretch of 3 s or more.
            frames: of the samples, the first that counts and the one after the last.
            before: of all frames before those; None: there were none.
        """

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """The log-Mel spectrogram float32 [94, 64] of a window; what is shorter than 3 s is padded."""


class OnnxBackend:
    """A student's ONNX file, of `liser_ray.prediction.onnx_export`. No PyTorch.

    Args:
        model: the file's bytes.
        where: names it in errors.
        n_threads: 0: as many as there are cores.

    Raises:
        UserError: it is no ONNX file, or not of a student, or of another version.
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
        outputs = {output.name for output in self._session.get_outputs()}
        if card is None or "log_mel" not in outputs:
            what = "not of a student" if card is None else "of another version of liser_ray"
            raise UserError(f"{where} is {what}. Write one with: liser-ray export --model FOLDER")
        self.card = StudentCard.parse(card, where)

    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        """See `Backend`."""
        given = _given(statistics)
        # The graph's windows are 0.1 s apart: those that are further apart are sounds of their own.
        batch = _BATCH_WINDOWS if step_samples == EVALUATION_STRIDE_SAMPLES else 1
        logits = []
        for first in range(0, window_count(len(samples), step_samples), batch):
            start = first * step_samples
            end = start + SEGMENT_SAMPLES + (batch - 1) * step_samples
            logits.append(self._run("window_logits", samples[start:end], **given))
        return np.concatenate(logits)

    def recording_logits(self, samples: np.ndarray, statistics: np.ndarray | None) -> np.ndarray:
        """See `Backend`."""
        return self._run("recording_logits", samples, skip=_all_but_one_window(samples), **_given(statistics))

    def statistics(self, samples: np.ndarray, frames: tuple[int, int], before: np.ndarray | None) -> np.ndarray:
        """See `Backend`."""
        given = {} if before is None else {"statistics_before": before}
        return self._run("statistics", samples, frames=np.array(frames), skip=_all_but_one_window(samples), **given)

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        return self._run("log_mel", samples)[0]

    def _run(self, output: str, waveform: np.ndarray, **inputs: np.ndarray) -> np.ndarray:
        return self._session.run([output], {"waveform": waveform, **inputs})[0]


def _given(statistics: np.ndarray | None) -> dict[str, np.ndarray]:
    """Inputs that say what the statistics are, whatever the sound."""
    return {} if statistics is None else {"statistics_before": statistics, "frames": np.zeros(2, np.int64)}


def _all_but_one_window(samples: np.ndarray) -> np.ndarray:
    """How many samples to skip so that no windows are computed in vain."""
    return np.array([max(0, len(samples) - SEGMENT_SAMPLES)])
