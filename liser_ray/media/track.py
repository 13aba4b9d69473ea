"""From faces in single pictures to one followed person.

A *tracklet* is one face through successive pictures of one shot. The *followed* person is a chain of tracklets: the
largest, most central and longest one, and those before and after it that can be the same person's.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from liser_ray.media import yuv
from liser_ray.media.detector import Face

SECOND_FACE_WIDTH = 0.5
"""A face from this share of the followed face's width on is another person in the picture, not background."""

MIN_SECOND_FACE_PICTURES = 3
"""A second face seen in fewer pictures than this is taken for a flicker of the detector."""

_MAX_STEP = 0.8  # face widths that a face may move between two detections; at 5 pictures between them that is fast
_MAX_STEP_GROWTH = 1.5
_SETTLED_STEP = 0.1  # face widths; after a longer step between two detections the pictures between are detected, too
_MAX_GAP_CELLS = 15  # a face that the detector lost for half a second is still the same tracklet

# What another tracklet may differ in from the person's, to be the same person's. Measured on 21 real videos: two crops
# of one person share 0.71 and more of their colours in 99 % of pairs (0.58 in 99.9 %), crops of two people less than
# 0.56 in 99 % (two in the same studio up to 0.79), so that position and size are asked for, too.
_MIN_COMMON_COLOURS = 0.6
_MAX_ZOOM = 2.5
_MAX_MOVE = 0.35  # of the frame's width and height


def mix(before: Face, after: Face, share: float) -> Face:
    """The face between two: linear in box and eyes; `share` is 0 at `before` and 1 at `after`."""
    n_points = 4 if before.eyes and after.eyes else 2
    start, end = before.points[:n_points], after.points[:n_points]
    return Face.of(start + (end - start) * share)


def distance(a: Face, b: Face) -> float:
    """Distance of two boxes' centres, in mean face widths; infinite where the sizes differ too much for one face."""
    if max(a.width, b.width) > _MAX_STEP_GROWTH * min(a.width, b.width):
        return float("inf")
    (ax, ay), (bx, by) = a.center, b.center
    return float(np.hypot(ax - bx, ay - by)) / ((a.width + b.width) / 2)


def pair(before: Sequence[Face], after: Sequence[Face], max_distance: float = _MAX_STEP) -> list[tuple[int, int]]:
    """Index pairs of faces that are the same one in two pictures of a shot, nearest first; each index at most once."""
    candidates = sorted(
        (d, i, j) for i, a in enumerate(before) for j, b in enumerate(after) if (d := distance(a, b)) <= max_distance
    )
    pairs: list[tuple[int, int]] = []
    for _, i, j in candidates:
        if all(i != p and j != q for p, q in pairs):
            pairs.append((i, j))
    return pairs


def settled(before: Sequence[Face], after: Sequence[Face]) -> bool:
    """Whether the pictures between two detections may be interpolated.

    True where every face that matters (half the largest one's width and more) is in both pictures, and near.
    """
    if not before and not after:
        return True
    least = SECOND_FACE_WIDTH * max(face.width for face in (*before, *after))
    pairs = pair(before, after, _SETTLED_STEP)
    paired_before, paired_after = {i for i, _ in pairs}, {j for _, j in pairs}
    return all(face.width < least or i in paired_before for i, face in enumerate(before)) and all(
        face.width < least or j in paired_after for j, face in enumerate(after)
    )


def colours(crop: np.ndarray) -> np.ndarray:
    """What a face and what is around it, a packed picture, look like, whatever its pose and size.

    float32 [384], a histogram over lightness and the two colour axes of CIE Lab; sums to 1.
    """
    lab = cv2.cvtColor(yuv.rgb(crop, 48), cv2.COLOR_RGB2LAB)
    # Faces, hair and rooms lie in the middle of the colour axes, so the bins do, too; what is outside isn't counted.
    bins = cv2.calcHist([lab], [0, 1, 2], None, [6, 8, 8], [0, 256, 96, 160, 96, 160]).ravel()
    return bins / max(1.0, float(bins.sum()))


@dataclass(eq=False)  # two tracklets are the same one or different ones
class Tracklet:
    """One face through successive pictures of one shot."""

    id: int  # ascending with time
    shot: int
    first_cell: int  # of the span's 30-Hz grid
    end_cell: int  # one past the last cell that shows it
    first: Face
    last: Face
    frame_size: tuple[int, int]  # width and height in pixels
    n_pictures: int = 0
    weight: float = 0.0  # the sum over its cells of size times centrality: how much it is what the span is about
    colour_sum: np.ndarray = field(default_factory=lambda: np.zeros(384, np.float32))  # of the `colours` of its crops
    n_colours: int = 0

    @property
    def looks(self) -> np.ndarray | None:
        """Mean of `colours` over its crops, or None where no crop was made of it."""
        return self.colour_sum / self.n_colours if self.n_colours else None

    def add(self, first_cell: int, n_cells: int, face: Face) -> None:
        """Notes one more picture of it, detected or interpolated; pictures come in order."""
        width, height = self.frame_size
        off_center = np.hypot(face.center[0] / width - 0.5, face.center[1] / height - 0.5)
        self.weight += n_cells * face.width / width * (1 - min(1.0, float(off_center)))
        self.n_pictures += 1
        self.end_cell = first_cell + n_cells
        self.last = face

    def add_crop(self, crop: np.ndarray) -> None:
        """Notes what it looks like."""
        self.colour_sum += colours(crop)
        self.n_colours += 1


class Tracker:
    """Gives each face of each detected picture its tracklet; pictures come in order."""

    def __init__(self) -> None:
        self.tracklets: list[Tracklet] = []
        self._previous: list[Tracklet] = []  # those of the last update

    def update(self, cell: int, shot: int, frame_size: tuple[int, int], faces: Sequence[Face]) -> list[Tracklet]:
        """The tracklet of each detected face, in their order; new ones where a face continues none, as in a new shot.

        The picture, which starts at a cell, isn't added to them yet.
        """
        alive = [
            t for t in self.tracklets if t.shot == shot and (t in self._previous or cell - t.end_cell <= _MAX_GAP_CELLS)
        ]
        found = {j: alive[i] for i, j in pair([t.last for t in alive], faces)}
        for j, face in enumerate(faces):
            if j not in found:
                found[j] = Tracklet(len(self.tracklets), shot, cell, cell, face, face, frame_size)
                self.tracklets.append(found[j])
        self._previous = [found[j] for j in range(len(faces))]
        return self._previous


def follow(tracklets: Iterable[Tracklet]) -> list[Tracklet]:
    """The tracklets of the person that the span is about, in order of time; they never overlap.

    Starts from the weightiest tracklet and adds others, weightiest first, that don't overlap and are plausibly the same
    person's as the nearest one in the chain. Empty where there is none with a crop.
    """
    chain: list[Tracklet] = []
    # Ids break ties, so that the result is a function of the tracklets alone.
    for tracklet in sorted((t for t in tracklets if t.n_colours), key=lambda t: (-t.weight, t.id)):
        if any(t.first_cell < tracklet.end_cell and tracklet.first_cell < t.end_cell for t in chain):
            continue
        if not chain or same_person(tracklet, min(chain, key=lambda t: _gap_cells(t, tracklet))):
            chain.append(tracklet)
    return sorted(chain, key=lambda t: t.first_cell)


def same_person(a: Tracklet, b: Tracklet) -> bool:
    """Whether two tracklets that don't overlap can be one person's: near in place, size and colours.

    Says no where it can't know: a window lost costs little, a window with the wrong person is a wrong label.
    """
    before, after = (a, b) if a.first_cell < b.first_cell else (b, a)
    if before.looks is None or after.looks is None:
        return False
    x0, y0, width0 = _relative(before.last, before.frame_size)
    x1, y1, width1 = _relative(after.first, after.frame_size)
    return (
        max(width0, width1) <= _MAX_ZOOM * min(width0, width1)
        and abs(x0 - x1) <= _MAX_MOVE
        and abs(y0 - y1) <= _MAX_MOVE
        and float(np.minimum(before.looks, after.looks).sum()) >= _MIN_COMMON_COLOURS
    )


def second_faces(widths: Sequence[dict[int, float]], followed: Collection[int], lasting: Collection[int]) -> np.ndarray:
    """In which cells somebody else can be seen beside or instead of the followed person.

    Args:
        widths: for each cell, the width of each face in it (share of the frame's width) by tracklet id.
        followed: ids of the followed person's tracklets.
        lasting: ids of the tracklets that are no flicker.

    Returns:
        bool [n_cells]: another lasting face there is at least `SECOND_FACE_WIDTH` times as wide as the followed face is
        there, or was or will be at the nearest time when it is seen. All False where nobody is followed.
    """
    own = np.array([max((w for i, w in cell.items() if i in followed), default=np.nan) for cell in widths])
    seen = np.flatnonzero(~np.isnan(own))
    if len(seen) == 0:
        return np.zeros(len(widths), bool)
    nearest = seen[np.searchsorted((seen[:-1] + seen[1:]) / 2, np.arange(len(widths)))]
    other = np.array([max((w for i, w in c.items() if i in lasting and i not in followed), default=0) for c in widths])
    return other >= SECOND_FACE_WIDTH * own[nearest]


def _gap_cells(a: Tracklet, b: Tracklet) -> int:
    return max(a.first_cell - b.end_cell, b.first_cell - a.end_cell)


def _relative(face: Face, frame_size: tuple[int, int]) -> tuple[float, float, float]:
    """Centre and width as shares of the frame."""
    (x, y), (width, height) = face.center, frame_size
    return x / width, y / height, face.width / width
