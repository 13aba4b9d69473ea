"""Spans made of a portrait on a textured background; most tests put the faces' places in by hand."""

from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
import pytest
from media_files import sampled
from skimage import data

from liser_ray.media import track
from liser_ray.media.detector import Face, FaceDetector
from liser_ray.media.faces import FaceConfig, SpanFaces, find_faces, tracked
from liser_ray.media.frame import SampledFrame
from liser_ray.runtime.errors import UserError

WIDTH, HEIGHT = 640, 360
PORTRAIT = data.astronaut()[20:300, 110:340]  # 280 x 230; the eyes at (93, 83) and (137, 84)
SHOTS = [np.resize(data.brick(), (HEIGHT, WIDTH)), np.resize(data.grass(), (HEIGHT, WIDTH)) // 3]

Place = tuple[float, float]  # upper left corner of a portrait
Places = Sequence[Place]


def picture(places: Places, shot: int = 0) -> np.ndarray:
    made = np.repeat(SHOTS[shot][..., None], 3, axis=-1).copy()
    for x, y in places:
        left, top = round(x), round(y)
        made[top : top + 280, left : left + 230] = PORTRAIT[: HEIGHT - top, : WIDTH - left]
    return made


def face_at(place: Place) -> Face:
    x, y = place
    return Face(x + 65, y + 40, 100, 130, ((x + 93, y + 83), (x + 137, y + 84)))


class Scene:
    """A span: for each picture the places where faces are found, where portraits are drawn, and the shot.

    Portraits are drawn where the faces are, unless said otherwise: one that pops up out of nothing would be a cut.
    """

    def __init__(
        self,
        places: Callable[[int], Places],
        n_pictures: int,
        shot: Callable[[int], int] = lambda i: 0,
        drawn: Callable[[int], Places] | None = None,
    ):
        self.places = [places(i) for i in range(n_pictures)]
        self.drawn = [(drawn or places)(i) for i in range(n_pictures)]
        self.shots = [shot(i) for i in range(n_pictures)]
        self.detected: list[int] = []

    def frames(self) -> list[SampledFrame]:
        return [
            sampled(picture(places, shot), i)
            for i, (places, shot) in enumerate(zip(self.drawn, self.shots, strict=True))
        ]

    def detect(self, frame: SampledFrame) -> tuple[Face, ...]:
        self.detected.append(frame.first_cell)
        return tuple(face_at(place) for place in self.places[frame.first_cell])

    def find(self, **config: int) -> SpanFaces:
        return find_faces(self.frames(), len(self.places), FaceConfig(**config), self.detect)


ONE: Places = [(60, 40)]
TWO: Places = [(60, 40), (360, 40)]


def test_one_still_face_fills_every_window():
    scene = Scene(lambda i: [(200, 40)], 70)
    result = scene.find(detect_every=5)
    assert result.clips.shape == (4, 16, 337, 224)
    assert result.clips.dtype == np.uint8
    assert result.clip_start_s == pytest.approx(np.arange(4) * 16 / 30)
    assert result.clip_valid.tolist() == [1, 1, 1, 1]
    assert result.face_box == pytest.approx(np.tile([265 / 640, 80 / 360, 100 / 640, 130 / 360], (4, 1)))
    assert result.other_faces == 0
    assert {a.dtype for a in (result.clip_start_s, result.clip_valid, result.face_box)} == {np.dtype(np.float32)}
    assert len(scene.detected) == 15, "the first picture, every fifth and the last"
    assert np.ptp(result.clips, axis=(0, 1)).max() == 0


@pytest.mark.parametrize("detect_every", [4, 5, 15])
def test_a_slowly_moving_face_is_interpolated_as_if_detected_and_a_fast_one_detected_more_often(detect_every):
    def place(i: int) -> Places:
        return [(200 + 1.25 * i, 40 - 0.25 * i)]

    fast = Scene(lambda i: [(200 + 100 * np.sin(i / 4), 40)], 32)
    assert fast.find(detect_every=detect_every).clip_valid.tolist() == [1, 1]
    assert len(fast.detected) > 10
    every = Scene(place, 32).find(detect_every=1)
    some = Scene(place, 32).find(detect_every=detect_every)
    assert some.face_box == pytest.approx(every.face_box, abs=1e-6)
    assert some.clip_valid.tolist() == every.clip_valid.tolist() == [1, 1]
    assert np.abs(some.clips.astype(int) - every.clips).mean() < 0.5


def test_haar_follows_a_moved_face():
    """With a real detector, and nothing else known: the box is where the portrait's face is."""
    places = [(60 + 9 * i, 40 + 20 * np.sin(i / 4)) for i in range(13)]
    half_size = [picture([place])[::2, ::2] for place in places]
    frames = [sampled(shown, i) for i, shown in enumerate(half_size)]
    pictures = list(tracked(frames, FaceDetector("opencv"), 4, track.Tracker()))
    assert [p.frame.first_cell for p in pictures] == list(range(13))
    found = [max((f for _, f in p.faces), key=lambda f: f.width).center for p in pictures]
    offsets = 2 * np.array(found) - np.array(places)
    assert np.abs(offsets - [115, 95]).max() < 15, "of a face that is 100 wide"


SCENES = {
    "a cut": (Scene(lambda i: [(200, 40)], 64, shot=lambda i: int(i >= 37)), {}, [1, 1, 0, 1], 0),
    # A face elsewhere after a cut is not plausibly the same person's.
    "somebody else after a cut": (
        Scene(lambda i: [(60, 20)] if i < 40 else [(390, 20)], 64, shot=lambda i: int(i >= 40)),
        {},
        [1, 1, 0, 0],
        24 / 64,
    ),
    "two faces side by side": (Scene(lambda i: TWO, 48), {}, [0, 0, 0], 1),
    "a second face for a while": (
        Scene(lambda i: TWO if 20 <= i < 30 else ONE, 64, drawn=lambda i: TWO),
        {},
        [1, 0, 1, 1],
        10 / 64,
    ),
    "a flicker of the detector": (
        Scene(lambda i: TWO if i == 20 else ONE, 32, drawn=lambda i: TWO),
        {"detect_every": 1},
        [1, 1],
        0,
    ),
    "no face": (Scene(lambda i: [], 40), {}, [0, 0], 0),
    "a small face": (Scene(lambda i: [(200, 40)], 16), {"min_face_px": 120}, [0], 0),
}


@pytest.mark.parametrize("kind", SCENES)
def test_valid_windows_show_the_followed_person_alone(kind):
    scene, config, valid, others = SCENES[kind]
    result = scene.find(**config)
    assert result.clip_valid.tolist() == valid
    assert result.other_faces == pytest.approx(others)
    if kind == "a cut":
        assert {36, 37} <= set(scene.detected), "detected on both sides of the cut"
    if kind == "somebody else after a cut":
        assert not result.clips[3].any()
    if kind == "no face":
        assert not result.clips.any()
        assert not result.face_box.any()


def test_a_face_that_comes_and_goes():
    here = [i for i in range(80) if not 18 <= i < 44]
    result = Scene(lambda i: ONE if i in here else [], 80, drawn=lambda i: ONE).find(detect_every=5)
    assert result.clip_valid.tolist() == [1, 2 / 16, 4 / 16, 1, 1], "exact in spite of detect_every"
    assert not result.clips[1, 2:].any()
    assert result.clips[1, :2].any(axis=(1, 2)).all()
    assert result.face_box[1] == pytest.approx(result.face_box[0])


def test_the_crop_is_upright_however_the_head_is_tilted():
    """The portrait turned by 25 degrees about its face gives the same crop as the portrait upright."""
    upright = picture([(200, 40)])
    face = face_at((200, 40))
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    center = np.array(face.center)
    source = (np.stack([x, y], axis=-1) - center) @ turn + center  # the inverse turn, for each of the new pixels
    index = np.clip(np.floor(source).astype(int), 0, [WIDTH - 1, HEIGHT - 1])
    turned = upright[index[..., 1], index[..., 0]]
    assert face.eyes is not None
    eyes = [tuple(turn @ (np.array(eye) - center) + center) for eye in face.eyes]
    tilted = Face(face.x, face.y, face.width, face.height, (eyes[0], eyes[1]))

    def crop(array: np.ndarray, at: Face) -> np.ndarray:
        return find_faces([sampled(array, 0, 16)], 16, FaceConfig(), lambda frame: (at,)).clips[0, 0, :224].astype(int)

    assert np.abs(crop(upright, face) - crop(turned, tilted)).mean() < 12
    assert np.abs(crop(upright, face) - crop(turned, face)).mean() > 30, "not so without the turn"


def test_cells_without_a_picture_lower_the_share():
    frames = Scene(lambda i: [(200, 40)], 32).frames()
    kept = [frame for frame in frames if not 4 <= frame.first_cell < 8]
    result = find_faces(kept, 32, FaceConfig(), lambda frame: (face_at((200, 40)),))
    assert result.clip_valid.tolist() == [0.75, 1]


@pytest.mark.parametrize(("n_pictures", "n_cells"), [(7, 7), (20, 16), (33, 32)])
def test_whole_windows_alone_and_surplus_pictures(n_pictures, n_cells):
    scene = Scene(lambda i: [(200, 40)], n_pictures)
    result = find_faces(scene.frames(), n_cells, FaceConfig(), scene.detect)
    assert len(result.clips) == len(result.clip_valid) == len(result.face_box) == n_cells // 16
    assert (result.clip_valid == 1).all()
    assert (result.clips == result.clips[:1, :1]).all()


def test_only_a_few_pictures_are_held():
    """However long the span is, the pictures that have been dealt with can be freed."""
    alive: list[int] = []
    most = 0

    def stream() -> Iterator[SampledFrame]:
        nonlocal most
        for i in range(60):
            yield _Counted(i, 1, av.VideoFrame.from_ndarray(picture(ONE), "rgb24"), alive)
            most = max(most, len(alive))

    for _ in tracked(stream(), lambda frame: (face_at(ONE[0]),), 5, track.Tracker()):
        pass
    assert 1 < most <= 7


class _Counted(SampledFrame):
    def __init__(self, first_cell: int, n_cells: int, held: av.VideoFrame, alive: list[int]):
        super().__init__(first_cell, n_cells, held)
        object.__setattr__(self, "alive", alive)
        alive.append(first_cell)

    def __del__(self) -> None:
        self.alive.remove(self.first_cell)  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", [{"detect_every": 0}, {"margin": -0.1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError):
        FaceConfig(**wrong)
