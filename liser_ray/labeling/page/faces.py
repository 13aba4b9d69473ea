"""The contact sheet: faces of a few labeled spans, decoded once more, for the table has no pictures."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from liser_ray.media import yuv
from liser_ray.media.clips import WINDOW_CELLS, crop_face
from liser_ray.media.detector import Face
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import MAX_PIXELS, Reader
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.media.track_choice import ANY, Wanted

FACE_PX = 112
_MARGIN = 0.25
_TIMEOUT_S = 60.0
_WINDOW_S = WINDOW_CELLS / FRAME_RATE_HZ


@dataclass(frozen=True)
class FacePicture:
    """One face of the contact sheet: a square picture, JPEG in base64, or why it could not be had."""

    uri: str
    time_s: float
    jpeg: str
    problem: str = ""


def contact_sheet(
    rows: pa.Table, wanted: Wanted = ANY, roots: tuple[str, ...] = (), max_pixels: int = MAX_PIXELS
) -> list[FacePicture]:
    """The middle one of each span's faces; rows have ``uri``, ``start_s`` and ``face_box`` with at least one face.

    ``wanted`` are the tracks that were asked for; roots and the largest pictures are those of the job.
    """
    pictures = []
    with Sandbox(workers=2, memory_mb=2048, preload=[face_jpeg.__module__]) as sandbox:
        pending = []
        for row in rows.to_pylist():
            windows = [window for window, box in enumerate(row["face_box"]) if any(box)]
            window = windows[len(windows) // 2]
            start_s = row["start_s"] + window * _WINDOW_S
            arguments = (row["uri"], start_s, row["face_box"][window], wanted, roots, max_pixels)
            future = sandbox.submit(face_jpeg, *arguments, timeout_s=_TIMEOUT_S)
            pending.append((row["uri"], start_s + _WINDOW_S / 2, future))
        for uri, time_s, future in pending:
            try:
                pictures.append(FacePicture(uri, time_s, base64.b64encode(future.result()).decode()))
            except MediaError as error:
                pictures.append(FacePicture(uri, time_s, "", f"{error.reason}: {error.detail}"))
    return pictures


def face_jpeg(
    uri: str, start_s: float, box: list[float], wanted: Wanted, roots: tuple[str, ...], max_pixels: int
) -> bytes:
    """A JPEG of `FACE_PX` pixels square of the face in the middle of a window. Meant for a child process.

    The window starts at so many seconds of the recording; the box is x, y, width and height as shares of the frame.

    Raises:
        MediaError: the picture can't be had.
    """
    with Reader(uri, max_pixels, roots, wanted) as reader:
        for frame in reader.span(start_s, start_s + _WINDOW_S):
            if frame.first_cell + frame.n_cells > WINDOW_CELLS // 2:
                face = Face(*np.multiply(box, frame.size * 2).tolist())
                crop = yuv.rgb(crop_face(frame, face, _MARGIN), FACE_PX)
                quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
                return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    raise MediaError(Reason.CORRUPT, f"no picture at {start_s:.2f} s")
