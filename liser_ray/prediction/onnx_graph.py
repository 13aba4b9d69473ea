"""The graph of a student in ONNX: waveform in, probabilities out.

It is written down as text, in ONNX's own syntax, step by step as in `liser_ray.student`, where the transform is that
of `liser_ray.prediction.matrices`. Batch norm is part of the convolutions.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser

from liser_ray.prediction.matrices import N_KEPT, N_LONG, N_SHORT, front_end_numbers
from liser_ray.student.card import StudentCard
from liser_ray.student.front_end import (
    EDGE_SAMPLES,
    EVALUATION_STRIDE_SAMPLES,
    MIN_BAND_STD,
    N_BANDS,
    SEGMENT_SAMPLES,
    STRIDE_SAMPLES,
)

OPSET = 17
_IR_VERSION = 8  # of ONNX 1.12 (2022), so that runtimes since then take the file
_BATCH_NORM_EPS = 1e-5
_N_ROWS = SEGMENT_SAMPLES // EVALUATION_STRIDE_SAMPLES

_WINDOWS = """
  # What is shorter than a window gets zeros behind it.
  n_given = Shape (waveform)
  n_lacking = Sub (segment, n_given)
  n_missing = Max (n_lacking, zero)
  behind = Concat <axis = 0> (zero, n_missing)
  sound = Pad (waveform, behind)

  # Rows of 0.1 s; a window is 30 of them, and one begins with each row.
  n_sound = Shape (sound)
  n_rows = Div (n_sound, row_samples)
  n_whole = Mul (n_rows, row_samples)
  whole = Slice (sound, zero, n_whole)
  rows = Reshape (whole, row_shape)
  n_windows = Sub (n_rows, rows_but_one)
  end = Squeeze (n_windows)
  firsts = Range (first, end, next)
  column = Unsqueeze (firsts, one)
  row_numbers = Add (column, row_places)
  by_row = Gather (rows, row_numbers)
  windows = Reshape (by_row, window_shape)
"""

_FILTERS = """
  # Triangles between neighbours on the Mel scale, for each frequency in the transform's order.
  low = Slice (corners_hz, zero, bands)
  bands_1 = Add (bands, one)
  mid = Slice (corners_hz, one, bands_1)
  bands_2 = Add (bands, two)
  high = Slice (corners_hz, two, bands_2)
  above_low = Sub (frequencies_hz, low)
  rise = Sub (mid, low)
  rising = Div (above_low, rise)
  below_high = Sub (high, frequencies_hz)
  fall = Sub (high, mid)
  falling = Div (below_high, fall)
  triangles = Min (rising, falling)
  filters = Relu (triangles)
"""

_LOG_MEL = """
  # Log-Mel of @sound [B, n]: mirrored ends, frames of four rows of 512 samples, transform, bands.
  @padded = Pad <mode = "reflect"> (@sound, edges)
  @shape = Shape (@padded)
  @n = Gather (@shape, one)
  @n_strides = Div (@n, stride)
  @n_used = Mul (@n_strides, stride)
  @used = Slice (@padded, zero, @n_used, one)
  @strides = Reshape (@used, stride_shape)
  @part_0 = Slice (@strides, zero, minus_3, one)
  @part_1 = Slice (@strides, one, minus_2, one)
  @part_2 = Slice (@strides, two, minus_1, one)
  @part_3 = Slice (@strides, three, far, one)
  @frames = Concat <axis = 2> (@part_0, @part_1, @part_2, @part_3)
  @frames_shape = Shape (@frames)
  @under_window = Mul (@frames, hann)
  @matrix = Reshape (@under_window, matrix_shape)
  @short = MatMul (short_transform, @matrix)
  @re, @im = Split <axis = 1> (@short)
  @re_re = Mul (@re, turn_re)
  @im_im = Mul (@im, turn_im)
  @turned_re = Sub (@re_re, @im_im)
  @re_im = Mul (@re, turn_im)
  @im_re = Mul (@im, turn_re)
  @turned_im = Add (@re_im, @im_re)
  @turned = Concat <axis = 2> (@turned_re, @turned_im)
  @spectrum = MatMul (@turned, long_transform)
  @squares = Mul (@spectrum, @spectrum)
  @square_re, @square_im = Split <axis = 2> (@squares)
  @power_matrix = Add (@square_re, @square_im)
  @power = Reshape (@power_matrix, power_shape)
  @in_bands = MatMul (@power, filters)
  @heard = Max (@in_bands, power_floor)
  @log = Log (@heard)
  @batch_and_frames = Slice (@frames_shape, zero, two)
  @log_shape = Concat <axis = 0> (@batch_and_frames, bands)
  @log_mel = Reshape (@log, @log_shape)
"""

_OWN_STATISTICS = """
  # Mean and deviation of each band over the frames in the given sound, where they are not given (NaN).
  r_sound = Unsqueeze (sound, zero)
  {log_mel}
  n_full = Div (n_given, stride)
  n_frames = Add (n_full, one)
  r_heard_frames = Slice (r_log_mel, zero, n_frames, one)
  own_mean = ReduceMean <axes = [1]> (r_heard_frames)
  off_mean = Sub (r_heard_frames, own_mean)
  off_squared = Mul (off_mean, off_mean)
  variance = ReduceMean <axes = [1]> (off_squared)
  own_std = Sqrt (variance)
  given_mean = Slice (band_statistics, zero, one)
  given_std = Slice (band_statistics, one, two)
  none_given = IsNaN (given_mean)
  chosen_mean = Where (none_given, own_mean, given_mean)
  chosen_std = Where (none_given, own_std, given_std)
  divisor = Max (chosen_std, min_std)
  centred = Sub (w_log_mel, chosen_mean)
  normalised = {normalised}
"""

_CORPUS_STATISTICS = """
  centred = Sub (w_log_mel, corpus_mean)
  normalised = Div (centred, corpus_divisor)
"""

_NETWORK = """
  turned_round = Transpose <perm = [0, 2, 1]> (normalised)
  picture = Unsqueeze (turned_round, one)
  conv_1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (picture, weight_1, bias_1)
  relu_1 = Relu (conv_1)
  pool_1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (relu_1)
  conv_2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (pool_1, weight_2, bias_2)
  relu_2 = Relu (conv_2)
  pool_2 = MaxPool <kernel_shape = [4, 2], strides = [4, 2]> (relu_2)
  conv_3 = Conv <kernel_shape = [3, 1], pads = [1, 0, 1, 0]> (pool_2, weight_3, bias_3)
  relu_3 = Relu (conv_3)
  pool_3 = MaxPool <kernel_shape = [4, 1], strides = [4, 1]> (relu_3)
  flat = Reshape (pool_3, flat_shape)
  in_time = Transpose <perm = [2, 0, 1]> (flat)
  all_steps, last_step = LSTM <hidden_size = {hidden_size}, direction = "{direction}">
    (in_time, lstm_input, lstm_hidden, lstm_bias)
  directions_last = Transpose <perm = [0, 2, 1, 3]> (all_steps)
  steps = Reshape (directions_last, steps_shape)
"""

_POOLING = {
    "last": "  pooled = Squeeze (last_step, zero)\n",
    "mean": "  pooled = ReduceMean <axes = [0], keepdims = 0> (steps)\n",
    "attention": """
  scores = MatMul (steps, attention)
  shares = Softmax <axis = 0> (scores)
  parts = Mul (steps, shares)
  pooled = ReduceSum <keepdims = 0> (parts, zero)
""",
}

_ANSWER = """
  window_logits = Gemm <transB = 1> (pooled, head_weight, head_bias)
  logits = ReduceMean <axes = [0], keepdims = 0> (window_logits)
  probabilities = Softmax <axis = 0> (logits)
"""


def student_graph(tensors: Mapping[str, np.ndarray], card: StudentCard) -> onnx.ModelProto:
    """The model, checked; its inputs and outputs are those of `liser_ray.prediction.onnx_export.export_onnx`.

    Args:
        tensors: float32, of the classifier's state dict.
        card: of the student.
    """
    inputs, statistics = "", "  normalised = Identity (w_log_mel)\n"
    config = card.network
    if card.of_recording:
        inputs = f", float[2, {N_BANDS}] band_statistics"
        normalised = "Div (centred, divisor)" if config.normalisation == "utterance" else "Identity (centred)"
        statistics = _OWN_STATISTICS.format(log_mel=_LOG_MEL.replace("@", "r_"), normalised=normalised)
    elif config.normalisation == "corpus":
        statistics = _CORPUS_STATISTICS
    direction = "bidirectional" if config.bidirectional else "forward"
    network = _NETWORK.format(hidden_size=config.hidden_size, direction=direction)
    n_labels = len(card.labels)
    text = (
        f'<ir_version: {_IR_VERSION}, opset_import: ["": {OPSET}], producer_name: "liser_ray">\n'
        f"student (float[samples] waveform{inputs}) => "
        f"(float[{n_labels}] probabilities, float[windows, {n_labels}] window_logits) {{"
        f"{_WINDOWS}\n  w_sound = Identity (windows)\n{_FILTERS}{_LOG_MEL.replace('@', 'w_')}"
        f"{statistics}{network}{_POOLING[config.pooling]}{_ANSWER}}}"
    )
    model = onnx.parser.parse_model(text)
    numbers = _lengths(config.filters[-1]) | front_end_numbers() | _weights(tensors, card)
    used = {name for node in model.graph.node for name in node.input}
    for name, value in numbers.items():
        if name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _lengths(n_filters: int) -> dict[str, np.ndarray]:
    """Whole numbers; those of several dimensions are shapes, where 0 is "as it is" and -1 "what is left"."""
    scalars = {"first": 0, "next": 1}
    vectors = {
        "zero": [0],
        "one": [1],
        "two": [2],
        "three": [3],
        "minus_1": [-1],
        "minus_2": [-2],
        "minus_3": [-3],
        "far": [np.iinfo(np.int64).max],
        "bands": [N_BANDS],
        "stride": [STRIDE_SAMPLES],
        "segment": [SEGMENT_SAMPLES],
        "row_samples": [EVALUATION_STRIDE_SAMPLES],
        "rows_but_one": [_N_ROWS - 1],
        "row_places": np.arange(_N_ROWS),
        "row_shape": [-1, EVALUATION_STRIDE_SAMPLES],
        "window_shape": [-1, SEGMENT_SAMPLES],
        "stride_shape": [0, -1, STRIDE_SAMPLES],
        "matrix_shape": [-1, N_SHORT, N_LONG],
        "power_shape": [-1, N_KEPT * N_LONG],
        "edges": [0, EDGE_SAMPLES, 0, EDGE_SAMPLES],
        "flat_shape": [0, 2 * n_filters, -1],  # two bands are left
        "steps_shape": [0, 0, -1],
    }
    return {name: np.asarray(value, np.int64) for name, value in (scalars | vectors).items()}


def _weights(tensors: Mapping[str, np.ndarray], card: StudentCard) -> dict[str, np.ndarray]:
    """Of the network, in the layouts that ONNX wants."""
    found: dict[str, np.ndarray] = {}
    for block in range(3):
        weight, bias = (tensors[f"convolutions.{block}.0.{name}"] for name in ("weight", "bias"))
        scale, shift, mean, variance = (
            tensors[f"convolutions.{block}.1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + np.float32(_BATCH_NORM_EPS))
        found[f"weight_{block + 1}"] = weight * factor[:, None, None, None]
        found[f"bias_{block + 1}"] = (bias - mean) * factor + shift
    directions = ("", "_reverse") if card.network.bidirectional else ("",)
    for name, ours in (("input", "weight_ih"), ("hidden", "weight_hh")):
        found[f"lstm_{name}"] = np.stack([_gates(tensors[f"lstm.{ours}_l0{end}"]) for end in directions])
    biases = [[_gates(tensors[f"lstm.bias_{name}_l0{end}"]) for name in ("ih", "hh")] for end in directions]
    found["lstm_bias"] = np.stack([np.concatenate(of_direction) for of_direction in biases])
    if card.network.pooling == "attention":
        found["attention"] = tensors["pooling.score.weight"].T
    found["head_weight"], found["head_bias"] = tensors["head.weight"], tensors["head.bias"]
    if card.network.normalisation == "corpus":
        found["corpus_mean"] = tensors["normalisation.mean"].T
        found["corpus_divisor"] = np.maximum(tensors["normalisation.std"].T, MIN_BAND_STD)
    if card.of_recording:
        found["band_statistics"] = np.full((2, N_BANDS), np.nan)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def _gates(weight: np.ndarray) -> np.ndarray:
    """PyTorch's order of the gates (input, forget, cell, output) as ONNX's (input, output, forget, cell)."""
    of_input, of_forget, of_cell, of_output = np.split(weight, 4)
    return np.concatenate([of_input, of_output, of_forget, of_cell])
