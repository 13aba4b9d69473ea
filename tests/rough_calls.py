"""Functions that misbehave, for a sandbox's children; importable by name, as a sandbox wants them."""

import ctypes
import os
import time
from dataclasses import dataclass

import numpy as np

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.runtime.errors import UserError


@dataclass
class Arrays:
    large: np.ndarray
    strided: np.ndarray
    small: np.ndarray


def add(a, b):
    return a + b


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def hang():
    ctypes.PyDLL(None).sleep(1000)  # a PyDLL call keeps the GIL


def segfault():
    ctypes.string_at(0)


def abort():
    os.abort()


def leave():
    os._exit(3)


def system_exit():
    raise SystemExit(0)


def grow():
    kept = []
    while True:
        kept.append(np.ones(4_000_000))


def ask_for_too_much():
    return np.ones(1 << 44)


def fail():
    raise ValueError("a bug")


def media_error():
    raise MediaError(Reason.NO_FACE, "none")


def user_error():
    raise UserError("weights are missing")


def not_to_be_pickled():
    return lambda: None


def arrays():
    large = np.arange(3_000_000, dtype=np.uint32)
    return Arrays(large, large.reshape(1000, 3000)[:, ::3], np.arange(5))


def with_sessions_open():
    """What a media child holds: cv2, torch and a live onnxruntime session."""
    import cv2
    import onnx
    import onnxruntime
    import torch

    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    globals()["_session"] = onnxruntime.InferenceSession(model.SerializeToString())
    return cv2.__version__, torch.__version__
