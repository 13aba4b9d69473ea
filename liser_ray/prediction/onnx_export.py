"""A student as one ONNX file with its front end and its card inside, in float32 or in 8-bit integers."""

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import safetensors
import safetensors.numpy
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from liser_ray.prediction.backend import CARD_KEY
from liser_ray.prediction.onnx_graph import student_graph
from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard
from liser_ray.student.front_end import SAMPLE_RATE_HZ, SEGMENT_SAMPLES


def export_onnx(weights: bytes, card: StudentCard) -> bytes:
    """A student as an ONNX file that needs nothing else; of 8 labels about half a megabyte.

    Inputs: ``waveform`` float32 [samples], 16 kHz, mono, -1..1, from one sample on.

    Outputs: ``probabilities`` float32 [K] of the recording, the softmax of the mean over windows; ``window_logits``
    float32 [W, K] of its 3-s windows, one every 0.1 s; ``log_mel`` float32 [W, 94, 64], what the windows' spectrograms
    are before normalisation.

    With normalisation by utterance there are more, for recordings that come in pieces. Output: ``statistics`` float32
    [3, 64], of each band the number of frames, mean and standard deviation. Optional inputs: ``statistics_before``, the
    same of what was before this waveform; ``frames`` int64 [2], the first of its frames that counts and the one after
    the last, (0, 0) for none; ``skip`` int64 [1], samples before the first window.

    Args:
        weights: the bytes of its ``student.safetensors``.
        card: its card; it becomes metadata of the model, with the labels.

    Raises:
        UserError: the weights are not those of the card's network.
    """
    try:
        model = student_graph(safetensors.numpy.load(weights), card)
    except (safetensors.SafetensorError, KeyError, onnx.checker.ValidationError) as error:
        raise UserError(f"The student's weights do not fit its card: {error}") from error
    content = {name: value for name, value in card.content.items() if name != "history"}
    metadata = {CARD_KEY: json.dumps(content), "labels": json.dumps(card.labels), "sample_rate_hz": str(SAMPLE_RATE_HZ)}
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


def quantise(model: bytes, recordings: Sequence[np.ndarray]) -> bytes:
    """The same student with 8-bit weights, and 8-bit convolutions: less than half the file.

    Convolutions get fixed ranges, which the recordings show; the LSTM's inputs are scaled as they come. The front end,
    the LSTM's state and the head stay float32.

    Args:
        model: of `export_onnx`.
        recordings: one or more, float32 [n], 16 kHz, -1..1; speech like what it will hear. Their first 3 s are used.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, convolutions, quantised = (str(Path(folder, name)) for name in ("a.onnx", "b.onnx", "c.onnx"))
        Path(whole).write_bytes(model)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # advice on how else to prepare a model
        try:
            quantize_static(
                whole,
                convolutions,
                _FirstWindows(recordings),
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            quantize_dynamic(
                convolutions, quantised, op_types_to_quantize=["LSTM"], per_channel=True, weight_type=QuantType.QInt8
            )
        finally:
            root.setLevel(level)
        return Path(quantised).read_bytes()


class _FirstWindows(CalibrationDataReader):
    """The first window of each recording."""

    def __init__(self, recordings: Sequence[np.ndarray]):
        self._recordings = iter(recordings)

    def get_next(self) -> dict[str, np.ndarray] | None:
        waveform = next(self._recordings, None)
        return None if waveform is None else {"waveform": waveform[:SEGMENT_SAMPLES].astype(np.float32)}
