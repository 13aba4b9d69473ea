from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import packed

from liser_ray.media.detector import Face
from liser_ray.media.track import SECOND_FACE_WIDTH, Tracker, Tracklet, colours, follow, second_faces

SIZE = (640, 360)
COORDINATE = st.floats(0, 600)
LENGTH = st.floats(10, 200)


def face(x: float = 300.0, y: float = 150.0, width: float = 60.0, eyes: bool = True) -> Face:
    pair_of_eyes = ((x + 0.3 * width, y + 0.4 * width), (x + 0.7 * width, y + 0.4 * width)) if eyes else None
    return Face(x, y, width, 1.3 * width, pair_of_eyes)


FACES = st.builds(face, COORDINATE, COORDINATE, LENGTH)


def tracklet(
    number: int, cells: tuple[int, int], at: Face | None = None, shot: int = 0, looks: int | None = 0
) -> Tracklet:
    at = at or face()
    made = Tracklet(number, shot, cells[0], cells[0], at, at, SIZE)
    for cell in range(*cells):
        made.add(cell, 1, at)
    if looks is not None:
        made.colour_sum[looks], made.n_colours = 1.0, 1
    return made


def test_a_tracklet_goes_on_through_a_short_gap_but_not_into_another_shot():
    tracker = Tracker()

    def see(cell: int, shot: int, *faces: Face) -> list[int]:
        found = tracker.update(cell, shot, SIZE, faces)
        for one, at in zip(found, faces, strict=True):
            one.add(cell, 1, at)
        return [one.id for one in found]

    assert see(0, 0, face(300), face(100)) == [0, 1]
    assert see(5, 0, face(105), face(300)) == [1, 0]
    assert see(10, 0, face(110)) == [1]
    assert see(15, 0, face(115), face(300)) == [1, 0], "lost for ten cells"
    assert see(20, 0, face(120)) == [1]
    assert see(60, 0, face(120), face(300)) == [1, 2], "lost for a second and more"
    assert see(61, 1, face(120), face(300)) == [3, 4]


def test_the_longest_largest_most_central_is_followed():
    assert [t.id for t in follow([tracklet(0, (0, 10)), tracklet(1, (0, 90))])] == [1]
    assert [t.id for t in follow([tracklet(0, (0, 90), face(width=40)), tracklet(1, (0, 90), face(width=80))])] == [1]
    assert [t.id for t in follow([tracklet(0, (0, 90), face(20)), tracklet(1, (0, 90), face(290))])] == [1]


def test_a_chain_goes_on_with_the_same_person_only():
    person = tracklet(0, (0, 60))
    back = tracklet(1, (70, 100), face(330, width=80), shot=1)
    stranger = tracklet(2, (100, 130), shot=2, looks=7)
    far = tracklet(3, (130, 150), face(10), shot=3)
    close_up = tracklet(4, (150, 160), face(220, width=250), shot=4)
    at_the_same_time = tracklet(5, (90, 120))
    chain = follow([close_up, far, stranger, at_the_same_time, back, person])
    assert [t.id for t in chain] == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50), FACES, st.integers(0, 1)), max_size=8), st.randoms())
@settings(max_examples=60)
def test_a_chain_never_overlaps_and_does_not_depend_on_the_order(specs, random):
    tracklets = [tracklet(i, (a, a + n), f, looks=look) for i, (a, n, f, look) in enumerate(specs)]
    chain = follow(tracklets)
    assert bool(chain) == bool(tracklets)
    assert all(a.end_cell <= b.first_cell for a, b in pairwise(chain))
    random.shuffle(tracklets)
    assert follow(tracklets) == chain


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_a_second_face_is_judged_by_the_followed_one_where_that_is_nearest(widths):
    """Widths of the followed face and of another, 0 for none; of two cells as near the earlier one counts."""
    cells = [{number: float(width) for number, width in enumerate(one) if width} for one in widths]
    own = [(cell, width) for cell, (width, _) in enumerate(widths) if width]
    expected = [
        bool(own) and other >= SECOND_FACE_WIDTH * min(own, key=lambda one: abs(one[0] - cell))[1]
        for cell, (_, other) in enumerate(widths)
    ]
    assert second_faces(cells, {0}, {0, 1}).tolist() == expected


def test_colours_know_a_picture_from_another_but_not_from_its_mirror():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, (224, 224, 3))

    def picture(colour, noise):
        return packed((np.array(colour) + noise).clip(0, 255).astype(np.uint8))

    skin, mirrored = picture([200, 150, 120], noise), picture([200, 150, 120], noise[:, ::-1])
    blue = picture([60, 80, 160], noise)
    assert colours(skin).sum() <= 1 + 1e-6
    assert np.minimum(colours(skin), colours(mirrored)).sum() > 0.9
    assert np.minimum(colours(skin), colours(blue)).sum() < 0.1
