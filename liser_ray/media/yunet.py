"""YuNet, run by ONNX Runtime: the boxes that OpenCV finds with it, not rounded, in a third of the time on one core.

Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector". DeepFace runs the same file through OpenCV's network
module and cuts every number down to a whole pixel, which moves a box by 1 % of its width (benchmarks/results).
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

FILE_NAME = "face_detection_yunet_2023mar.onnx"

_STRIDES = (8, 16, 32)  # pixels from one cell of an output's grid to the next
_MIN_SCORE = 0.9  # DeepFace's
_MAX_OVERLAP = 0.3  # of two boxes of different faces, as intersection over union


def find(path: Path, picture: np.ndarray) -> np.ndarray:
    """Finds faces with the network in a file, which is read once, on one thread.

    Args:
        path: of the file.
        picture: uint8 [height, width, 3], RGB.

    Returns:
        float64 [faces, 8], in pixels (pixel i covers [i, i + 1)): left, top, width and height of the box, x and y of
        the person's right eye, x and y of the left one. The most certain face first.

    Raises:
        Exception: of onnx or ONNX Runtime, whose errors have no common base, if it is no such file.
    """
    height, width = (-(-side // _STRIDES[-1]) * _STRIDES[-1] for side in picture.shape[:2])
    pixels = np.zeros((1, 3, height, width), np.float32)
    pixels[0, :, : picture.shape[0], : picture.shape[1]] = picture[..., ::-1].transpose(2, 0, 1)  # BGR
    names = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]
    outputs = dict(zip(names, _session(path).run(names, {"input": pixels}), strict=True))
    found = [_candidates(outputs, stride, width // stride) for stride in _STRIDES]
    scores, faces = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), scores.tolist(), _MIN_SCORE, _MAX_OVERLAP) if len(faces) else []
    return faces[np.asarray(kept, int)]


def _candidates(outputs: dict[str, np.ndarray], stride: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N] and faces [N, 8] of the cells of one grid that are certain enough."""
    certain = outputs[f"cls_{stride}"][0, :, 0].astype(float) * outputs[f"obj_{stride}"][0, :, 0]
    cells = np.flatnonzero(certain >= _MIN_SCORE**2)
    box, points = outputs[f"bbox_{stride}"][0, cells].astype(float), outputs[f"kps_{stride}"][0, cells].astype(float)
    corner = np.stack([cells % columns, cells // columns], axis=1)
    size = np.exp(box[:, 2:])
    eyes = points[:, :4] + np.tile(corner, 2)
    return np.sqrt(certain[cells]), stride * np.concatenate([corner + box[:, :2] - size / 2, size, eyes], axis=1)


@cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    network = onnx.load(path)
    # The file says 640 x 640; nothing in the network needs it, and a smaller picture is less work.
    sides = network.graph.input[0].type.tensor_type.shape.dim[2:]
    for side, name in zip(sides, ("height", "width"), strict=True):
        side.dim_param = name
    for output in network.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_of_{output.name}"
    del network.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1  # a process per core fills the machine
    return onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
