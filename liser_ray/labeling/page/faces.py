"""The contact sheet: faces of a few labeled spans, decoded once more, for the table has no pictures."""

import base64
from concurrent.futures import Future
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from liser_ray.media.clips import WINDOW_CELLS, crop_face
from liser_ray.media.detector import Face
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.timeline import FRAME_RATE_HZ

FACE_PX = 112
_MARGIN = 0.25
_TIMEOUT_S = 60.0
_MEMORY_MB = 2048
_WORKERS = 2
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class FacePicture:
    """One face of the contact sheet.

    Attributes:
        uri: of the recording.
        time_s: of the picture, from the recording's start.
        jpeg: base64 of a square picture, or "" where it could not be had.
        problem: why not.
    """

    uri: str
    time_s: float
    jpeg: str
    problem: str = ""


def contact_sheet(rows: pa.Table) -> list[FacePicture]:
    """The face in the middle one of each span's valid windows.

    Args:
        rows: labeled rows with ``uri``, ``start_s``, ``video_valid`` and ``face_box``.
    """
    with Sandbox(workers=_WORKERS, memory_mb=_MEMORY_MB, preload=[face_jpeg.__module__]) as sandbox:
        pending = []
        for row in rows.to_pylist():
            valid = np.flatnonzero(np.array(row["video_valid"]) > 0)
            if not len(valid):
                continue
            window = int(valid[len(valid) // 2])
            start_s = row["start_s"] + window * WINDOW_CELLS / FRAME_RATE_HZ
            future = sandbox.submit(face_jpeg, row["uri"], start_s, row["face_box"][window], timeout_s=_TIMEOUT_S)
            pending.append((row["uri"], start_s + WINDOW_CELLS / FRAME_RATE_HZ / 2, future))
        return [_picture(uri, time_s, future) for uri, time_s, future in pending]


def face_jpeg(uri: str, start_s: float, box: list[float]) -> bytes:
    """A JPEG of `FACE_PX` pixels square of the face in the middle of a window. Meant for a child process.

    Args:
        uri: of the recording.
        start_s: of the window, from the recording's start.
        box: x, y, width and height of the face as shares of the frame.

    Raises:
        MediaError: the picture can't be had.
    """
    with Reader(uri) as reader:
        for frame in reader.span(start_s, start_s + WINDOW_CELLS / FRAME_RATE_HZ):
            if frame.first_cell + frame.n_cells > WINDOW_CELLS // 2:
                width, height = frame.size
                face = Face(box[0] * width, box[1] * height, box[2] * width, box[3] * height)
                crop = cv2.resize(crop_face(frame, face, _MARGIN), (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
                quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    raise MediaError(Reason.CORRUPT, f"no picture at {start_s:.2f} s")


def _picture(uri: str, time_s: float, future: "Future[bytes]") -> FacePicture:
    try:
        return FacePicture(uri, time_s, base64.b64encode(future.result()).decode())
    except MediaError as error:
        return FacePicture(uri, time_s, "", f"{error.reason}: {error.detail}")
