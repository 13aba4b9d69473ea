"""The graph of a student in ONNX: waveform in, probabilities out.

It is written down as text, in ONNX's own syntax, step by step as in `liser_ray.student`; batch norm is part of the
convolutions. What `torch.onnx.export` makes of the same steps is more than twice as large, since it stores the filters.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser

from liser_ray.student.card import StudentCard
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
    STRIDE_SAMPLES,
    mel_corners_hz,
)

OPSET = 17
_IR_VERSION = 8  # of ONNX 1.12 (2022), so that runtimes since then take the file
_BATCH_NORM_EPS = 1e-5
_N_ROWS = SEGMENT_SAMPLES // EVALUATION_STRIDE_SAMPLES
_N_LONG, _N_SHORT = 64, 32  # the factors of the transform's length
_N_KEPT = _N_SHORT // 2 + 1  # rows of the short transform that real sound needs

_WINDOWS = """
  # What is shorter than a window gets zeros behind it.
  n_given = Shape (waveform)
  n_lacking = Sub (segment, n_given)
  n_missing = Max (n_lacking, zero)
  behind = Concat <axis = 0> (zero, n_missing)
  sound = Pad (waveform, behind)

  # Rows of 0.1 s; a window is 30 of them, and one begins with each row.
  n_sound = Shape (sound)
  after_skip = Slice (sound, skip, n_sound)
  n_after_skip = Shape (after_skip)
  n_rows = Div (n_after_skip, row_samples)
  n_whole = Mul (n_rows, row_samples)
  whole = Slice (after_skip, zero, n_whole)
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
  above_low = Sub (frequencies_hz, low_hz)
  rising = Div (above_low, rise_hz)
  below_high = Sub (high_hz, frequencies_hz)
  falling = Div (below_high, fall_hz)
  triangles = Min (rising, falling)
  filters = Relu (triangles)
"""

_LOG_MEL = """
  # Log-Mel of @sound [B, n]: frames are four strides each, at @places [frames, 4].
  @padded = Pad <mode = "reflect"> (@sound, edges)
  @n_strides = Div (@n_padded, stride)
  @n_used = Mul (@n_strides, stride)
  @used = Slice (@padded, zero, @n_used, one)
  @strides = Reshape (@used, stride_shape)
  @frames = Gather <axis = 1> (@strides, @places)
  @matrix = Reshape (@frames, matrix_shape)
  @under_window = Mul (@matrix, hann)
  @short = MatMul (short_transform, @under_window)
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
"""

_STATISTICS = """
  # The wanted frames of the whole waveform.
  r_sound = Unsqueeze (sound, zero)
  r_n_padded = Add (n_sound, frame_samples)
  n_full = Div (n_given, stride)
  n_frames = Add (n_full, one)
  wanted = Min (frames, n_frames)
  from_frame, to_frame = Split <axis = 0> (wanted)
  one_on = Add (from_frame, one)
  to_place = Max (to_frame, one_on)  # products of nothing are an error to onnxruntime
  from_scalar = Squeeze (from_frame)
  to_scalar = Squeeze (to_place)
  frame_firsts = Range (from_scalar, to_scalar, next)
  frame_column = Unsqueeze (frame_firsts, one)
  r_places = Add (frame_column, stride_places)
{log_mel}
  # Mean and deviation of each band over them, and over what was before, as in `features.recording_statistics`.
  n_new = Sub (to_frame, from_frame)
  count = Cast <to = 1> (n_new)
  divisor = Max (count, one_frame)
  sum = ReduceSum (r_log, zero)
  new_mean = Div (sum, divisor)
  off_mean = Sub (r_log, new_mean)
  off_squared = Mul (off_mean, off_mean)
  sum_squared = ReduceSum (off_squared, zero)
  new_variance = Div (sum_squared, divisor)
  old_count, old_mean, old_std = Split <axis = 0> (statistics_before)
  all_count = Add (old_count, count)
  share = Div (count, all_count)
  step = Sub (new_mean, old_mean)
  weighted_step = Mul (share, step)
  mean = Add (old_mean, weighted_step)
  old_variance = Mul (old_std, old_std)
  variance_step = Sub (new_variance, old_variance)
  weighted_variance_step = Mul (share, variance_step)
  variance_within = Add (old_variance, weighted_variance_step)
  old_share = Sub (one_frame, share)
  step_left = Mul (old_share, step)
  variance_between = Mul (weighted_step, step_left)
  variance = Add (variance_within, variance_between)
  std = Sqrt (variance)
  statistics = Concat <axis = 0> (all_count, mean, std)
  std_or_least = Max (std, min_std)
  centred = Sub (log_mel, mean)
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
{pooled}
  window_logits = Gemm <transB = 1> (pooled, head_weight, head_bias)
  logits = ReduceMean <axes = [0], keepdims = 0> (window_logits)
  probabilities = Softmax <axis = 0> (logits)
"""

_POOLING = {
    "last": "  pooled = Squeeze (last_step, zero)",
    "mean": "  pooled = ReduceMean <axes = [0], keepdims = 0> (steps)",
    "attention": """
  scores = MatMul (steps, attention)
  shares = Softmax <axis = 0> (scores)
  parts = Mul (steps, shares)
  pooled = ReduceSum <keepdims = 0> (parts, zero)
""",
}

_NORMALISED = {
    "none": "  normalised = Identity (log_mel)",
    "corpus": "  centred = Sub (log_mel, corpus_mean)\n  normalised = Div (centred, corpus_divisor)",
    "utterance": "  normalised = Div (centred, std_or_least)",
    "utterance-mean": "  normalised = Identity (centred)",
}


def student_graph(tensors: Mapping[str, np.ndarray], card: StudentCard) -> onnx.ModelProto:
    """The model, checked; its inputs and outputs are those of `liser_ray.prediction.onnx_export.export_onnx`.

    Args:
        tensors: float32, of the classifier's state dict.
        card: of the student.
    """
    config, n_labels = card.network, len(card.labels)
    inputs, outputs, statistics = "float[samples] waveform", f"float[{n_labels}] probabilities", ""
    if card.of_recording:
        inputs += f", float[3, {N_BANDS}] statistics_before, int64[2] frames, int64[1] skip"
        outputs += f", float[3, {N_BANDS}] statistics"
        statistics = _STATISTICS.format(log_mel=_LOG_MEL.replace("@", "r_"))
    network = _NETWORK.format(
        hidden_size=config.hidden_size,
        direction="bidirectional" if config.bidirectional else "forward",
        pooled=_POOLING[config.pooling],
    )
    model = onnx.parser.parse_model(
        f'<ir_version: {_IR_VERSION}, opset_import: ["": {OPSET}], producer_name: "liser_ray">\n'
        f"student ({inputs}) => ({outputs}, float[windows, {n_labels}] window_logits, "
        f"float[windows, {SEGMENT_FRAMES}, {N_BANDS}] log_mel) {{{_WINDOWS}\n  w_sound = Identity (windows)\n{_FILTERS}"
        f"{_LOG_MEL.replace('@', 'w_')}  log_mel = Reshape (w_log, log_mel_shape)\n{statistics}"
        f"{_NORMALISED[config.normalisation]}\n{network}}}"
    )
    used = {name for node in model.graph.node for name in node.input}
    for name, value in (_whole_numbers(config.filters[-1]) | _front_end() | _weights(tensors, card)).items():
        if name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _whole_numbers(n_filters: int) -> dict[str, np.ndarray]:
    """Scalars, vectors and shapes, where 0 is "as it is" and -1 "what is left"."""
    stride_places = np.arange(FRAME_SAMPLES // STRIDE_SAMPLES)
    numbers = {
        "first": 0,
        "next": 1,
        "zero": [0],
        "one": [1],
        "stride": [STRIDE_SAMPLES],
        "segment": [SEGMENT_SAMPLES],
        "frame_samples": [FRAME_SAMPLES],
        "row_samples": [EVALUATION_STRIDE_SAMPLES],
        "rows_but_one": [_N_ROWS - 1],
        "row_places": np.arange(_N_ROWS),
        "row_shape": [-1, EVALUATION_STRIDE_SAMPLES],
        "window_shape": [-1, SEGMENT_SAMPLES],
        "edges": [0, EDGE_SAMPLES, 0, EDGE_SAMPLES],
        "w_n_padded": [SEGMENT_SAMPLES + FRAME_SAMPLES],
        "w_places": np.arange(SEGMENT_FRAMES)[:, None] + stride_places,
        "frames": [0, np.iinfo(np.int64).max],
        "skip": [0],
        "stride_places": stride_places,
        "stride_shape": [0, -1, STRIDE_SAMPLES],
        "matrix_shape": [-1, _N_SHORT, _N_LONG],
        "power_shape": [-1, _N_KEPT * _N_LONG],
        "log_mel_shape": [-1, SEGMENT_FRAMES, N_BANDS],
        "flat_shape": [0, 2 * n_filters, -1],  # two bands are left
        "steps_shape": [0, 0, -1],
    }
    return {name: np.asarray(value, np.int64) for name, value in numbers.items()}


def _front_end() -> dict[str, np.ndarray]:
    """Window, Fourier transform and bands.

    One product would need a matrix of 17 MB. Two do it, 32 · 64 = 2048, with a turn between (Cooley and Tukey 1965);
    onnxruntime's own transform takes fifteen times as long. With sample n = 64·a + b and frequency k = c + 32·d, the
    transform's exp(-2πi·n·k / 2048) is the product of exp(-2πi·a·c / 32), exp(-2πi·b·c / 2048) and exp(-2πi·b·d / 64).
    Sound is real, so that frequency 2048 - k has the power of k: c from 0 to 16 gives all of them, those with c = 0 and
    c = 16 twice.
    """
    n, a, b, c, d = map(np.arange, (FRAME_SAMPLES, _N_SHORT, _N_LONG, _N_KEPT, _N_LONG))
    short = np.exp(-2j * np.pi * np.outer(c, a) / _N_SHORT)
    turn = np.exp(-2j * np.pi * np.outer(c, b) / FRAME_SAMPLES)
    long = np.exp(-2j * np.pi * np.outer(b, d) / _N_LONG)
    k = c[:, None] + _N_SHORT * d
    bins = np.where(k <= FRAME_SAMPLES // 2, k, FRAME_SAMPLES - k)
    bins[(k > FRAME_SAMPLES // 2) & (c[:, None] % (_N_SHORT // 2) == 0)] = -1  # in no band
    corners_hz = mel_corners_hz()
    numbers = {
        "hann": (0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME_SAMPLES)).reshape(_N_SHORT, _N_LONG),
        "short_transform": np.concatenate([short.real, short.imag]),
        "turn_re": turn.real,
        "turn_im": turn.imag,
        "long_transform": np.block([[long.real, long.imag], [-long.imag, long.real]]),
        "frequencies_hz": bins.reshape(-1, 1) * (SAMPLE_RATE_HZ / FRAME_SAMPLES),
        "low_hz": corners_hz[:-2],
        "high_hz": corners_hz[2:],
        "rise_hz": np.diff(corners_hz)[:-1],
        "fall_hz": np.diff(corners_hz)[1:],
        "power_floor": POWER_FLOOR,
        "one_frame": 1,
        "min_std": MIN_BAND_STD,
        "statistics_before": np.zeros((3, N_BANDS)),
    }
    return {name: np.asarray(value, np.float32, order="C") for name, value in numbers.items()}


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
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def _gates(weight: np.ndarray) -> np.ndarray:
    """PyTorch's order of the gates (input, forget, cell, output) as ONNX's (input, output, forget, cell)."""
    of_input, of_forget, of_cell, of_output = np.split(weight, 4)
    return np.concatenate([of_input, of_output, of_forget, of_cell])
