"""One person's aligned face through a span, in a single pass over its pictures.

Faces are detected in every `detect_every`-th picture and on both sides of a cut. Where two successive detections agree,
the pictures between are interpolated; where they don't (a face comes, goes or moves fast), the one in the middle is
detected, too, and so on. Only the largest face of each picture is cropped: a window that shows a second face of
comparable size is invalid, so no other face can ever be in a valid one. Hence one crop per picture and a handful of
full-size pictures is all that is kept, however long the span and however crowded the picture, and who is followed can
be decided at the end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from liser_ray.media import clips, cuts, track
from liser_ray.media.detector import Face, FaceDetector
from liser_ray.media.frame import SampledFrame
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.media.yuv import CROP_PX, PACKED_ROWS
from liser_ray.runtime.errors import UserError

Detect = Callable[[SampledFrame], tuple[Face, ...]]


@dataclass(frozen=True)
class FaceConfig:
    """How faces are found and cut out.

    Attributes:
        detector: name of a DeepFace detector; `opencv` needs no downloaded weights but finds far fewer faces.
        detect_every: pictures from one detection to the next while faces keep still; 1 is the paper's every frame.
        margin: how much wider than the longer side of the face box the square crop is, as a share of that side.
        min_face_px: a face narrower than this in the full-size frame isn't followed.
    """

    detector: str = "yunet"
    detect_every: int = 8
    margin: float = 0.25
    min_face_px: int = 32

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise UserError(f"detect_every is {self.detect_every}: give 1 (every picture) or more")
        if not 0 <= self.margin <= 2:
            raise UserError(f"margin is {self.margin}: give a share of the face box from 0 to 2, such as 0.25")


@dataclass(frozen=True)
class SpanFaces:
    """What the span's pictures show, per window of 16 cells of the 30 Hz grid.

    Attributes:
        clips: uint8 [W, 16, 337, 224], packed crops of the followed face (`liser_ray.media.yuv`); zeros, which stand
            for black, in a cell without it.
        clip_start_s: float32 [W], seconds from the span's start.
        clip_valid: float32 [W], 0..1, the share of the window's cells with the followed face; 0 where a cut lies in
            the window or another person is in it.
        face_box: float32 [W, 4], mean x, y, width and height as shares of the frame; zeros where there is no face.
        other_faces: share of the span's cells that show somebody else of comparable size.
    """

    clips: np.ndarray
    clip_start_s: np.ndarray
    clip_valid: np.ndarray
    face_box: np.ndarray
    other_faces: float

    def part(self, first_cell: int, end_cell: int) -> "SpanFaces":
        """The windows that lie in a part of the span, which begins with one."""
        kept = slice(first_cell // clips.WINDOW_CELLS, end_cell // clips.WINDOW_CELLS)
        n_kept = len(self.clip_start_s[kept])
        return SpanFaces(
            self.clips[kept], self.clip_start_s[:n_kept], self.clip_valid[kept], self.face_box[kept], self.other_faces
        )


NO_FACES = SpanFaces(
    clips=np.zeros((0, clips.WINDOW_CELLS, PACKED_ROWS, CROP_PX), np.uint8),
    clip_start_s=np.zeros(0, np.float32),
    clip_valid=np.zeros(0, np.float32),
    face_box=np.zeros((0, 4), np.float32),
    other_faces=0.0,
)
"""Of a span whose pictures nobody looks at."""


@dataclass(frozen=True)
class TrackedPicture:
    """A picture with its faces."""

    frame: SampledFrame
    shot: int  # its number
    faces: tuple[tuple[track.Tracklet, Face], ...]
    detected: bool  # or interpolated


def find_faces(
    frames: Iterable[SampledFrame], n_cells: int, config: FaceConfig, detect: Detect | None = None
) -> SpanFaces:
    """Follows one face through the pictures, in order, of a span of so many cells; the same ones give the same result.

    Without ``detect`` faces are found by the detector that the process keeps, which threads may not share.
    """
    tracker = track.Tracker()
    n_cropped = n_cells // clips.WINDOW_CELLS * clips.WINDOW_CELLS  # what is left belongs to no window
    crops = np.zeros((n_cropped, PACKED_ROWS, CROP_PX), np.uint8)
    owner = np.full(n_cells, -1)  # id of the tracklet in `crops`
    shots = np.full(n_cells, clips.NO_SHOT)
    boxes = np.zeros((n_cells, 4))
    widths: list[dict[int, float]] = [{} for _ in range(n_cells)]

    for picture in tracked(frames, detect or _detector(config.detector), config.detect_every, tracker):
        frame = picture.frame
        cells = slice(frame.first_cell, min(frame.first_cell + frame.n_cells, n_cells))
        shots[cells] = picture.shot
        for cell in range(n_cells)[cells]:
            widths[cell] = {tracklet.id: face.width / frame.size[0] for tracklet, face in picture.faces}
        tracklet, face = max(picture.faces, key=lambda f: f[1].width, default=(None, None))
        if tracklet is None or face is None or face.width < config.min_face_px or frame.first_cell >= n_cropped:
            continue
        crop = clips.crop_face(frame, face, config.margin)
        if picture.detected:
            tracklet.add_crop(crop)
        crops[cells] = crop
        owner[cells] = tracklet.id
        boxes[cells] = (face.points[:2] / frame.size).ravel()

    followed = {tracklet.id for tracklet in track.follow(tracker.tracklets)}
    lasting = {t.id for t in tracker.tracklets if t.n_pictures >= track.MIN_SECOND_FACE_PICTURES}
    found = np.isin(owner, list(followed))
    others = track.second_faces(widths, followed, lasting)
    crops[~found[:n_cropped]] = 0
    window = clips.windows(crops)
    return SpanFaces(
        clips=window,
        clip_start_s=(np.arange(len(window)) * (clips.WINDOW_CELLS / FRAME_RATE_HZ)).astype(np.float32),
        clip_valid=clips.window_valid(found, shots, others),
        face_box=clips.window_boxes(boxes, found),
        other_faces=float(others.mean()) if n_cells else 0.0,
    )


@cache
def _detector(name: str) -> FaceDetector:
    """Loaded once, for all spans of the process."""
    return FaceDetector(name)


def tracked(
    frames: Iterable[SampledFrame], detect: Detect, detect_every: int, tracker: track.Tracker
) -> Iterator[TrackedPicture]:
    """Every picture with its faces, in order, at most `detect_every` pictures late."""
    last: SampledFrame | None = None
    last_faces: list[tuple[track.Tracklet, Face]] = []
    for shot, run in runs(frames, detect_every):
        known = {0: tuple(face for _, face in last_faces)} if run[0] is last else {}
        detections = detect_run(run, detect, known)
        before = 0
        for key in sorted(detections.keys() - known.keys()):
            found = tracker.update(run[key].first_cell, shot, run[key].size, detections[key])
            faces = list(zip(found, detections[key], strict=True))
            for i in range(before + 1, key):
                between = tuple(_between(last_faces, faces, (i - before) / (key - before)))
                yield _noted(TrackedPicture(run[i], shot, between, detected=False))
            yield _noted(TrackedPicture(run[key], shot, tuple(faces), detected=True))
            last_faces, before = faces, key
        last = run[-1]
        del run  # or its pictures would be kept until the next run is complete


def runs(frames: Iterable[SampledFrame], detect_every: int) -> Iterator[tuple[int, list[SampledFrame]]]:
    """Successive pictures of one shot whose first and last are to be detected, with the shot's number.

    A run starts with the picture that the one before it ended with, unless a cut lies between.
    """
    shot = 0
    run: list[SampledFrame] = []
    before = np.empty(0)
    for frame in frames:
        tiny = frame.gray(cuts.TINY_PX, cuts.TINY_PX)
        if run and (frame.size != run[-1].size or cuts.is_cut(before, tiny)):
            yield shot, run
            shot += 1
            run = []
        run.append(frame)
        if len(run) == detect_every + 1:
            yield shot, run
            run = run[-1:]
        before = tiny
    if run:
        yield shot, run


def detect_run(
    run: list[SampledFrame], detect: Detect, known: dict[int, tuple[Face, ...]]
) -> dict[int, tuple[Face, ...]]:
    """Faces, by index, of the run's first and last picture and of as many between as it takes to interpolate the rest.

    Those that are `known` already are in the result.
    """
    found = dict(known)
    gaps = [(0, len(run) - 1)]
    while gaps:
        start, end = gaps.pop()
        for i in (start, end):
            if i not in found:
                found[i] = detect(run[i])
        if end - start > 1 and not track.settled(found[start], found[end]):
            middle = (start + end) // 2
            gaps += [(start, middle), (middle, end)]
    return found


def _between(
    before: list[tuple[track.Tracklet, Face]], after: list[tuple[track.Tracklet, Face]], share: float
) -> Iterator[tuple[track.Tracklet, Face]]:
    """The faces that both detections show, where they are between them."""
    earlier = {tracklet.id: face for tracklet, face in before}
    for tracklet, face in after:
        if tracklet.id in earlier:
            yield tracklet, track.mix(earlier[tracklet.id], face, share)


def _noted(picture: TrackedPicture) -> TrackedPicture:
    """The picture, after its tracklets have taken note of it."""
    for tracklet, face in picture.faces:
        tracklet.add(picture.frame.first_cell, picture.frame.n_cells, face)
    return picture
