"""A student as one ONNX file with its front end and its card inside, in float32 or in 8-bit integers.

The graph is written down step by step as in `liser_ray.student`; batch norm is part of the convolutions. What
`torch.onnx.export` makes of the same steps is more than twice as large, since it stores the filters.
"""

import json
import logging
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Union

import numpy as np
import onnx
import safetensors
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import set_default_logger_severity
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from liser_ray.prediction.backend import CARD_KEY
from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard
from liser_ray.student.chunks import CHUNK_FRAMES, chunk_frames, reach_frames
from liser_ray.student.front_end import (
    EDGE_SAMPLES,
    EVALUATION_STRIDE_SAMPLES,
    FRAME_SAMPLES,
    MIN_BAND_STD,
    N_BANDS,
    POWER_FLOOR,
    SAMPLE_RATE_HZ,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    SPEECH_RANGE,
    STRIDE_SAMPLES,
    TINY_POWER,
    mel_corners_hz,
)

OPSET = 17
_IR_VERSION = 8  # of ONNX 1.12 (2022), so that runtimes since then take the file
_BATCH_NORM_EPS = 1e-5
_N_ROWS = SEGMENT_SAMPLES // EVALUATION_STRIDE_SAMPLES
_N_LONG, _N_SHORT = 64, 32  # the factors of the transform's length
_N_KEPT = _N_SHORT // 2 + 1  # rows of the short transform that real sound needs
_STRIDES_OF_FRAME = np.arange(FRAME_SAMPLES // STRIDE_SAMPLES)


def export_onnx(weights: bytes, card: StudentCard) -> bytes:
    """A student, of the bytes of its ``student.safetensors``, as an ONNX file that needs nothing else.

    Of 8 labels it has about half a megabyte. The card becomes metadata of the model, with the labels.

    Inputs: ``waveform`` float32 [samples], 16 kHz, mono, -1..1, from one sample on.

    Outputs: ``probabilities`` float32 [K] of the recording, the softmax of the mean over windows at the card's
    temperature; ``window_logits`` float32 [W, K + A] of its 3-s windows, one every 0.1 s, the labels' logits and then
    the attributes; ``log_mel`` float32 [W, 94, 64], what the windows' spectrograms are before normalisation; of a
    student with attributes, such as arousal, ``attributes`` float32 [A] of the recording, in the metadata's order.

    A network with chunks hears a recording that they cover as a whole, and ``probabilities`` are then of the output
    ``recording_logits``, float32 [K + A]; of the beginning of a longer one these mean nothing.

    Where the recording is normalised by itself there are more, for recordings that come in pieces. Output:
    ``statistics`` float32 [3, 64], of each band the weight, mean and deviation. Optional inputs:
    ``statistics_before``, the same of what was before this waveform; ``frames`` int64 [2], the first of its frames that
    counts and the one after the last, (0, 0) for none; ``skip`` int64 [1], samples before the first window, which a
    network with chunks takes too.

    Raises:
        UserError: the weights are not those of the card's network.
    """
    try:
        model = _student_graph(safetensors.numpy.load(weights), card)
    except (safetensors.SafetensorError, KeyError, onnx.checker.ValidationError) as error:
        raise UserError(f"The student's weights do not fit its card: {error}") from error
    content = {name: value for name, value in card.content.items() if name != "history"}
    metadata = {CARD_KEY: json.dumps(content), "labels": json.dumps(card.labels), "sample_rate_hz": str(SAMPLE_RATE_HZ)}
    metadata |= {"attributes": json.dumps(card.attributes)} if card.attributes else {}
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
        set_default_logger_severity(3)  # it warns of inputs with defaults
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
            set_default_logger_severity(2)  # as it is by itself
        return Path(quantised).read_bytes()


class _FirstWindows(CalibrationDataReader):
    def __init__(self, recordings: Sequence[np.ndarray]):
        self._recordings = iter(recordings)

    def get_next(self) -> dict[str, np.ndarray] | None:
        waveform = next(self._recordings, None)
        return None if waveform is None else {"waveform": waveform[:SEGMENT_SAMPLES].astype(np.float32)}


_Input = Union["_Value", np.ndarray, Sequence[int], float]
_Attribute = str | int | Sequence[int]


class _Value:
    """A tensor of the graph; what is computed with it becomes a node."""

    def __init__(self, graph: "_Graph", name: str):
        self._graph, self.name = graph, name

    def __add__(self, other: _Input) -> "_Value":
        return self._graph("Add", self, other)

    def __sub__(self, other: _Input) -> "_Value":
        return self._graph("Sub", self, other)

    def __mul__(self, other: _Input) -> "_Value":
        return self._graph("Mul", self, other)

    def __truediv__(self, other: _Input) -> "_Value":
        return self._graph("Div", self, other)

    def __matmul__(self, other: _Input) -> "_Value":
        return self._graph("MatMul", self, other)


class _Graph:
    """Nodes and numbers in the order in which they are asked for.

    Whole numbers among the inputs are int64, all others float32; equal ones are stored once.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.numbers: dict[Hashable, onnx.TensorProto] = {}

    def __call__(self, kind: str, *inputs: _Input, name: str = "", **attributes: _Attribute) -> _Value:
        return self.several(1, kind, *inputs, name=name, **attributes)[0]

    def several(self, count: int, kind: str, *inputs: _Input, name: str = "", **attributes: _Attribute) -> list[_Value]:
        names = [name or f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(count)]
        node = helper.make_node(kind, [self.value(one).name for one in inputs], names)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return [_Value(self, one) for one in names]

    def value(self, number: _Input, name: str = "") -> _Value:
        if isinstance(number, _Value):
            return number
        array = np.asarray(number)
        array = np.asarray(array, np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32, order="C")
        key = name or (array.dtype.str, array.shape, array.tobytes())
        if key not in self.numbers:
            self.numbers[key] = numpy_helper.from_array(array, name or f"number_{len(self.numbers)}")
        return _Value(self, self.numbers[key].name)


def _student_graph(tensors: Mapping[str, np.ndarray], card: StudentCard) -> onnx.ModelProto:
    """The model of a classifier's state dict, checked; its inputs and outputs are those of `export_onnx`."""
    op, n_labels, n_attributes = _Graph(), len(card.labels), len(card.attributes)
    floats, info = TensorProto.FLOAT, helper.make_tensor_value_info
    inputs = [info("waveform", floats, ["samples"])]
    outputs = [
        info("probabilities", floats, [n_labels]),
        info("window_logits", floats, ["windows", n_labels + n_attributes]),
        info("log_mel", floats, ["windows", SEGMENT_FRAMES, N_BANDS]),
    ]
    waveform = _Value(op, "waveform")
    n_given, of_speech = op("Shape", waveform), card.network.normalisation == "speech"
    sound = _fit_length(op, waveform, n_given, of_speech)
    filters, floor = _filters(op), TINY_POWER if of_speech else POWER_FLOOR
    skip: _Input = [0]
    if card.of_recording or card.network.chunks:
        skip = op.value([0], "skip")
        inputs.append(info("skip", TensorProto.INT64, [1]))
    if card.network.chunks:
        outputs.append(info("recording_logits", floats, [n_labels + n_attributes]))
    if card.of_recording:
        inputs += [info("statistics_before", floats, [3, N_BANDS]), info("frames", TensorProto.INT64, [2])]
        outputs.append(info("statistics", floats, [3, N_BANDS]))
    windows = _windows(op, sound, skip)
    places = op("Unsqueeze", op("Range", 0, SEGMENT_FRAMES, 1), [1]) + _STRIDES_OF_FRAME
    by_frame = _log_mel(op, windows, op.value([SEGMENT_SAMPLES]), places, filters, floor)
    log_mel = normalised = op("Reshape", by_frame, [-1, SEGMENT_FRAMES, N_BANDS], name="log_mel")
    if card.network.chunks:
        log_mel = normalised = _chunks(op, log_mel, sound, filters, floor, card.network.chunks)
    if card.of_recording:
        mean, std = _statistics(op, sound, n_given, filters, floor)
        if of_speech:
            least = op("ReduceMax", mean, axes=[1], keepdims=1) - SPEECH_RANGE
            log_mel, mean = op("Max", log_mel, least), op("Max", mean, least)
        normalised = log_mel - mean
        if card.network.normalisation == "utterance":
            normalised = normalised / op("Max", std, MIN_BAND_STD)
    elif card.network.normalisation == "corpus":
        divisor = np.maximum(tensors["normalisation.std"].T, MIN_BAND_STD)
        normalised = (log_mel - tensors["normalisation.mean"].T) / divisor
    logits = _network(op, normalised, tensors, card)
    if card.network.chunks:
        of_windows = op("Slice", logits, [0], [-1], [0], name="window_logits")
        at_once = op("Squeeze", op("Slice", logits, [-1], [np.iinfo(np.int64).max], [0]), [0], name="recording_logits")
        is_whole = op("LessOrEqual", op("Shape", sound) / STRIDE_SAMPLES + 1, reach_frames(card.network.chunks))
        answer = op("Where", is_whole, at_once, op("ReduceMean", of_windows, axes=[0], keepdims=0))
    else:
        answer = op("ReduceMean", logits, axes=[0], keepdims=0)
    if n_attributes:
        outputs.append(info("attributes", floats, [n_attributes]))
        op("Slice", answer, [n_labels], [n_labels + n_attributes], [0], name="attributes")
        answer = op("Slice", answer, [0], [n_labels], [0])
    op("Softmax", answer / card.temperature, axis=0, name="probabilities")
    graph = helper.make_graph(op.nodes, "student", inputs, outputs, list(op.numbers.values()))
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="liser_ray", opset_imports=opset, ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _fit_length(op: _Graph, waveform: _Value, n_given: _Value, mirrors: bool) -> _Value:
    """As `liser_ray.student.features.LogMel.fit_length`."""
    if not mirrors:
        return op("Pad", waveform, op("Concat", [0], op("Max", op.value(SEGMENT_SAMPLES) - n_given, 0), axis=0))
    period = op("Max", (n_given - 1) * 2, 1)
    n_wanted = op("Squeeze", op("Max", n_given, SEGMENT_SAMPLES))
    places = op("Mod", op("Range", 0, n_wanted, 1), period)
    return op("Gather", waveform, op("Min", places, period - places))


def _windows(op: _Graph, sound: _Value, skip: _Input) -> _Value:
    """The 3-s windows after some samples, [W, 48000]: 30 rows of 0.1 s each, and one begins with each row."""
    sound = op("Slice", sound, skip, [np.iinfo(np.int64).max])
    n_rows = op("Shape", sound) / EVALUATION_STRIDE_SAMPLES
    whole = op("Slice", sound, [0], n_rows * EVALUATION_STRIDE_SAMPLES)
    rows = op("Reshape", whole, [-1, EVALUATION_STRIDE_SAMPLES])
    firsts = op("Range", 0, op("Squeeze", n_rows - (_N_ROWS - 1)), 1)
    by_row = op("Gather", rows, op("Unsqueeze", firsts, [1]) + np.arange(_N_ROWS))
    return op("Reshape", by_row, [-1, SEGMENT_SAMPLES])


def _filters(op: _Graph) -> _Value:
    """Triangles between neighbours on the Mel scale, for each frequency in the order of `_log_mel`'s transform.

    Sound is real, so that frequency 2048 - k has the power of k: c from 0 to 16 gives all of them, those with c = 0 and
    c = 16 twice.
    """
    c, d = np.arange(_N_KEPT), np.arange(_N_LONG)
    k = c[:, None] + _N_SHORT * d
    bins = np.where(k <= FRAME_SAMPLES // 2, k, FRAME_SAMPLES - k)
    bins[(k > FRAME_SAMPLES // 2) & (c[:, None] % (_N_SHORT // 2) == 0)] = -1  # in no band
    frequencies_hz = op.value(bins.reshape(-1, 1) * (SAMPLE_RATE_HZ / FRAME_SAMPLES))
    corners_hz = mel_corners_hz()
    rise_hz, fall_hz = np.diff(corners_hz)[:-1], np.diff(corners_hz)[1:]
    rising = (frequencies_hz - corners_hz[:-2]) / rise_hz
    falling = (op.value(corners_hz[2:]) - frequencies_hz) / fall_hz
    return op("Relu", op("Min", rising, falling))


def _log_mel(op: _Graph, sound: _Value, n_samples: _Value, places: _Value, filters: _Value, floor: float) -> _Value:
    """Log-Mel, float [B · frames, 64], of sound [B, n]; a frame is four strides of the mirrored sound.

    A Fourier transform in one product would need a matrix of 17 MB. Two do it, 32 · 64 = 2048, with a turn between
    (Cooley and Tukey 1965); onnxruntime's own transform takes fifteen times as long. With sample n = 64·a + b and
    frequency k = c + 32·d, the transform's exp(-2πi·n·k / 2048) is the product of exp(-2πi·a·c / 32),
    exp(-2πi·b·c / 2048) and exp(-2πi·b·d / 64). ``n_samples`` is int64 [1], n; ``places`` int64 [frames, 4], the
    strides of each frame.
    """
    a, b, c, d = map(np.arange, (_N_SHORT, _N_LONG, _N_KEPT, _N_LONG))
    short = np.exp(-2j * np.pi * np.outer(c, a) / _N_SHORT)
    turn = np.exp(-2j * np.pi * np.outer(c, b) / FRAME_SAMPLES)
    long = np.exp(-2j * np.pi * np.outer(b, d) / _N_LONG)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)

    padded = op("Pad", sound, [0, EDGE_SAMPLES, 0, EDGE_SAMPLES], mode="reflect")
    n_used = (n_samples + FRAME_SAMPLES) / STRIDE_SAMPLES * STRIDE_SAMPLES
    strides = op("Reshape", op("Slice", padded, [0], n_used, [1]), [0, -1, STRIDE_SAMPLES])
    frames = op("Reshape", op("Gather", strides, places, axis=1), [-1, _N_SHORT, _N_LONG])
    shortly = op.value(np.concatenate([short.real, short.imag])) @ (frames * hann.reshape(_N_SHORT, _N_LONG))
    re, im = op.several(2, "Split", shortly, axis=1)
    turned = op("Concat", re * turn.real - im * turn.imag, re * turn.imag + im * turn.real, axis=2)
    spectrum = turned @ np.block([[long.real, long.imag], [-long.imag, long.real]])
    re, im = op.several(2, "Split", spectrum * spectrum, axis=2)
    power = op("Reshape", re + im, [-1, _N_KEPT * _N_LONG])
    return op("Log", op("Max", power @ filters, floor))


def _statistics(op: _Graph, sound: _Value, n_given: _Value, filters: _Value, floor: float) -> tuple[_Value, _Value]:
    """Mean and deviation of each band, [1, 64], over what was before and the wanted frames of the waveform.

    Frames weigh as they are loud where the floor is `TINY_POWER`.

    The same steps as in `liser_ray.student.features.recording_statistics`.
    """
    before = op.value(np.zeros((3, N_BANDS)), "statistics_before")
    frames = op.value([0, np.iinfo(np.int64).max], "frames")
    first, end = op.several(2, "Split", op("Min", frames, n_given / STRIDE_SAMPLES + 1), axis=0)
    to = op("Max", end, first + 1)  # products of nothing are an error to onnxruntime
    wanted = op("Unsqueeze", op("Range", op("Squeeze", first), op("Squeeze", to), 1), [1])
    row = op("Unsqueeze", sound, [0])
    log_mel = _log_mel(op, row, op("Shape", sound), wanted + _STRIDES_OF_FRAME, filters, floor)
    are_any = op("Cast", op("Min", end - first, 1), to=TensorProto.FLOAT)
    loudness = op("Sqrt", op("ReduceSum", op("Exp", log_mel), [1])) if floor == TINY_POWER else op.value(1.0)
    weights = op("Expand", loudness * are_any, op("Shape", op("Slice", log_mel, [0], [1], [1])))
    weight = op("ReduceSum", weights, [0])
    divisor = op("Max", weight, float(np.finfo(np.float32).tiny))
    mean = op("ReduceSum", log_mel * weights, [0]) / divisor
    off = log_mel - mean
    variance = op("ReduceSum", off * off * weights, [0]) / divisor
    old_weight, old_mean, old_std = op.several(3, "Split", before, axis=0)
    share, step = weight / (old_weight + weight), mean - old_mean
    old_share, old_variance = op.value(1.0) - share, old_std * old_std
    mean = old_mean + share * step
    std = op("Sqrt", old_share * old_variance + share * variance + share * old_share * step * step)
    op("Concat", old_weight + weight, mean, std, axis=0, name="statistics")
    return mean, std


def _chunks(op: _Graph, windows: _Value, sound: _Value, filters: _Value, floor: float, n_chunks: int) -> _Value:
    """The chunks of the windows' spectrograms [W, 94, 64], and as the last row those of all that chunks cover.

    Float [W + 1, N · 32, 64], as `liser_ray.student.features.in_chunks`.
    """
    of_windows = op("Gather", windows, chunk_frames(np.array([SEGMENT_FRAMES]), n_chunks)[0], axis=1)
    beginning = op("Slice", sound, [0], [reach_frames(n_chunks) * STRIDE_SAMPLES - 1])
    n_frames = op("Shape", beginning) / STRIDE_SAMPLES + 1
    starts = op.value(np.arange(n_chunks)) * (n_frames - CHUNK_FRAMES) / (n_chunks - 1)
    frames = op("Reshape", op("Unsqueeze", starts, [1]) + np.arange(CHUNK_FRAMES), [-1, 1])
    row = op("Unsqueeze", beginning, [0])
    whole = _log_mel(op, row, op("Shape", beginning), frames + _STRIDES_OF_FRAME, filters, floor)
    return op("Concat", of_windows, op("Unsqueeze", whole, [0]), axis=0)


def _network(op: _Graph, log_mel: _Value, tensors: Mapping[str, np.ndarray], card: StudentCard) -> _Value:
    """Answers [W, K + A] to normalised windows [W, frames, 64]; without chunks they are the output."""
    config = card.network
    if config.chunks:
        log_mel = op("Reshape", log_mel, [-1, CHUNK_FRAMES, N_BANDS])
    maps = op("Unsqueeze", op("Transpose", log_mel, perm=[0, 2, 1]), [1])
    for block, (kernel, pool) in enumerate((((3, 3), (2, 2)), ((3, 3), (4, 2)), ((3, 1), (4, 1)))):
        weight, bias = (tensors[f"convolutions.{block}.0.{name}"] for name in ("weight", "bias"))
        scale, shift, mean, variance = (
            tensors[f"convolutions.{block}.1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + np.float32(_BATCH_NORM_EPS))
        sides = [side // 2 for side in kernel]
        folded = weight * factor[:, None, None, None], (bias - mean) * factor + shift
        maps = op("Relu", op("Conv", maps, *folded, kernel_shape=kernel, pads=[*sides, *sides]))
        maps = op("MaxPool", maps, kernel_shape=pool, strides=pool)
    flat = op("Reshape", maps, [0, 2 * config.filters[-1], -1])  # two bands are left
    directions, direction = (("", "_reverse"), "bidirectional") if config.bidirectional else (("",), "forward")
    weights = [np.stack([_gates(tensors[f"lstm.weight_{of}_l0{end}"]) for end in directions]) for of in ("ih", "hh")]
    biases = [[_gates(tensors[f"lstm.bias_{of}_l0{end}"]) for of in ("ih", "hh")] for end in directions]
    all_steps, last_step = op.several(
        2,
        "LSTM",
        op("Transpose", flat, perm=[2, 0, 1]),
        *weights,
        np.stack([np.concatenate(one) for one in biases]),
        hidden_size=config.hidden_size,
        direction=direction,
    )
    steps = op("Reshape", op("Transpose", all_steps, perm=[0, 2, 1, 3]), [0, 0, -1])
    if config.pooling == "last":
        pooled = op("Squeeze", last_step, [0])
    elif config.pooling == "mean":
        pooled = op("ReduceMean", steps, axes=[0], keepdims=0)
    else:
        shares = op("Softmax", steps @ tensors["pooling.score.weight"].T, axis=0)
        pooled = op("ReduceSum", steps * shares, [0], keepdims=0)
    if config.chunks:
        chunks = op("Reshape", pooled, [-1, config.chunks, tensors["head.weight"].shape[1]])
        shares = op("Softmax", chunks @ tensors["over_chunks.score.weight"].T, axis=1)
        pooled = op("ReduceSum", chunks * shares, [1], keepdims=0)
    name = "" if config.chunks else "window_logits"
    return op("Gemm", pooled, tensors["head.weight"], tensors["head.bias"], transB=1, name=name)


def _gates(weight: np.ndarray) -> np.ndarray:
    """PyTorch's order of the gates (input, forget, cell, output) as ONNX's (input, output, forget, cell)."""
    of_input, of_forget, of_cell, of_output = np.split(weight, 4)
    return np.concatenate([of_input, of_output, of_forget, of_cell])
