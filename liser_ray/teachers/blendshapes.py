"""MediaPipe's face landmarker: 478 points of a face, and of 146 of them how far 52 blendshapes are moved.

Read from ``face_landmarker.task``, a zip of TensorFlow Lite files, and run by LiteRT: the package ``mediapipe`` itself
brings another build of OpenCV, which takes the place of the one that the media stage needs.
"""

import zipfile
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.quiet import stderr_away

INPUT_PX = 256
N_POINTS = 478
_POINTS_FILE, _BLENDSHAPES_FILE = "face_landmarks_detector.tflite", "face_blendshapes.tflite"
_MAX_BYTES = 1 << 26

_NAMES = """
_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
"""
NAMES = tuple(_NAMES.split())
"""The 52 scores in the order of the network's output, as MediaPipe's graph for blendshapes names them."""

_POINTS = """
0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91 93 95 103 105 107
109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161 162 163 168 172 173 176 178 181 185
191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285 288 291 293 295 296 297 300 308 310 311 312 314 317
318 321 323 324 332 334 336 338 356 361 362 365 373 374 375 377 378 379 380 381 382 384 385 386 387 388 389 390 397
398 400 402 405 409 415 454 466 468 469 470 471 472 473 474 475 476 477
"""
_TAKEN = np.array(_POINTS.split(), int)
"""Of the points, those that the second network takes, of the same graph."""


class Blendshapes:
    """Scores of pictures float32 [N, 3, H, W], 0..255, RGB, of square cuts around a face: float32 [N, 52], 0..1.

    The cuts of the media stage are about as wide around a face as those that MediaPipe makes for itself, so its own
    detector is not asked. May be called in several threads.

    Raises:
        UserError: LiteRT is not installed, or the file is another one.
    """

    def __init__(self, path: Path):
        try:
            with zipfile.ZipFile(path) as file:
                if max(file.getinfo(name).file_size for name in (_POINTS_FILE, _BLENDSHAPES_FILE)) > _MAX_BYTES:
                    raise ValueError(f"a network of more than {_MAX_BYTES:,} bytes")
                self._content = [file.read(name) for name in (_POINTS_FILE, _BLENDSHAPES_FILE)]
            self._free: SimpleQueue[list[_Network]] = SimpleQueue()
            with stderr_away():  # TensorFlow Lite says how it computes
                self(torch.zeros(1, 3, INPUT_PX, INPUT_PX))
        except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not MediaPipe's face landmarker with blendshapes: {error}") from error

    def __call__(self, frames: Tensor) -> Tensor:
        """The scores, in the order of `NAMES`, on the CPU."""
        size = (INPUT_PX, INPUT_PX)
        # On the CPU, where the networks run: a GPU interpolates no bytes.
        inputs = (F.interpolate(frames.cpu(), size, mode="bilinear") / 255).permute(0, 2, 3, 1).numpy()
        try:
            networks = self._free.get_nowait()
        except Empty:
            networks = [_Network(one) for one in self._content]  # of this thread, and later of another one
        points, scores = networks
        found = []
        for one in inputs:
            face = points(one[None]).reshape(N_POINTS, 3)
            found.append(scores(face[None, _TAKEN, :2]).reshape(len(NAMES)))
        self._free.put(networks)
        return torch.from_numpy(np.stack(found))


class _Network:
    """A TensorFlow Lite file of one input, and its first output."""

    def __init__(self, content: bytes):
        self._interpreter = _interpreter(content)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(values))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output))


def _interpreter(content: bytes) -> Any:  # noqa: ANN401 (of a package that may not be there)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            "MediaPipe's face landmarker needs the package ai-edge-litert: pip install 'liser-ray[blendshapes]'. Or "
            "give an ONNX model that scores action units (docs/pretext.md)."
        ) from error
    return Interpreter(model_content=content, num_threads=1)
