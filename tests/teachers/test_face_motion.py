"""How much a face moves: not its head, not its mouth."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_teachers import s2d_networks
from talking_points import faces_at

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.face_motion import UPPER_FACE, face_motion
from liser_ray.teachers.kinds import face_motion as kind
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.landmarks import landmarks
from liser_ray.teachers.mobilefacenet import load_mobilefacenet
from liser_ray.teachers.s2d import S2DConfig
from liser_ray.teachers.weights import save_checkpoint

STILL = faces_at(np.zeros(16))
JAW, BROWS = np.r_[4:13], np.r_[17:27]


def moved(points, where, amplitude: float = 0.02, hz: float = 2.0) -> np.ndarray:
    """With some points that go up and down, by so much of the eyes' distance."""
    found = points.copy()
    eyes = np.linalg.norm(points[0, 45] - points[0, 36])
    found[:, where, 1] += amplitude * eyes * np.sin(2 * np.pi * hz * np.arange(16) / 30)[:, None]
    return found


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 112.0]))
def test_turns_shifts_and_size_of_the_whole_face_count_for_nothing(seed, unit):
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-0.5, 0.5, 16), rng.uniform(0.5, 2, 16)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    for points in (STILL, moved(STILL, BROWS)):
        turned = (points @ turn * scale[:, None, None] + rng.uniform(-0.3, 0.3, (16, 1, 2))) * unit
        # Faces whose brows move are of slightly unlike size where they are laid on one another.
        assert face_motion(turned) == pytest.approx(face_motion(points), abs=1e-9, rel=0.02)


def test_the_mouth_and_the_jaw_that_goes_with_it_count_for_nothing():
    assert face_motion(STILL) == pytest.approx(0, abs=1e-12)
    assert face_motion(faces_at(np.arange(16.0))) == pytest.approx(0, abs=1e-12)
    assert face_motion(moved(STILL, JAW, 0.1)) == pytest.approx(0, abs=1e-12)


def test_brows_count_and_the_more_the_further_and_faster_they_go():
    little, far, fast = (face_motion(moved(STILL, BROWS, *one)) for one in ((0.02, 1.0), (0.04, 1.0), (0.02, 2.0)))
    assert little > 0
    assert far == pytest.approx(2 * little, rel=0.05)
    assert fast > 1.5 * little
    # Ten of the points move, at four times amplitude and frequency; the mean of five pictures takes a little off.
    speed = len(BROWS) / len(UPPER_FACE) * 4 * 0.02
    assert 0.3 * speed < little < 1.2 * speed


def test_points_that_tremble_count_for_little():
    rng = np.random.default_rng(0)
    trembling = face_motion(STILL + rng.normal(size=STILL.shape) * 0.002)
    unsmoothed = np.abs(np.diff(rng.normal(size=(16, 2)) * 0.002 / 0.4, axis=0)).mean() * 30
    assert trembling < unsmoothed / 3


def test_on_a_real_face_brows_count_and_the_mouth_hardly(landmark_file, real_clips):
    teacher = kind.load("motion", kind.Options(landmark_file), torch.device("cpu"), "float32")
    talking, face = real_clips[2:3], real_clips[2, 8]
    points = landmarks(load_mobilefacenet(Path(landmark_file)), torch.from_numpy(talking))[0, 8].numpy() * 224
    noise = np.random.default_rng(0).normal(size=(16, *face.shape)).round()
    still = (face + noise).clip(0, 255).astype(np.uint8)
    mouth = np.where(near(points[48:68], (0.75, 1.5)), talking[0], face)
    up_and_down = 3 * np.sin(2 * np.pi * 2 * np.arange(16) / 30)
    shifts = [np.float32([[1, 0, 0], [0, 1, one]]) for one in up_and_down]
    shifted = np.array([cv2.warpAffine(face, one, (224, 224), borderMode=cv2.BORDER_REPLICATE) for one in shifts])
    brows = np.where(near(points[17:27], (0.6, 1.0)), shifted, face)
    of_still, of_mouth, of_shifted, of_brows = teacher(np.stack([still, mouth, shifted, brows]))["motion"].values[:, 0]
    assert of_still < 0.02
    assert of_brows > 2 * of_mouth  # the network's points are not free of one another
    # Nor are they quite the same wherever a face lies: of a shift of all, which is no motion, a fifth is left.
    shift = np.abs(np.diff(up_and_down)).mean() * 30 / np.linalg.norm(points[45] - points[36])
    assert of_shifted < 0.25 * shift


def near(points, size):
    """The rectangle around some points, so many times as large, bool [224, 224, 1]."""
    y, x = np.mgrid[:224, :224]
    middle, half = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0) * size
    return ((np.abs(x - middle[0]) < half[0]) & (np.abs(y - middle[1]) < half[1]))[..., None]


def test_its_weights_are_those_of_the_landmark_network(tmp_path):
    _, network = s2d_networks(S2DConfig(embed_dim=64, depth=1, heads=1))
    save_checkpoint(tmp_path / "landmarks.safetensors", network.state_dict())
    (entry,) = read_teachers([f"motion=face_motion:{tmp_path}/landmarks.safetensors"])
    teacher = entry.load(torch.device("cpu"), "bfloat16")
    (target,) = teacher.targets
    clips = np.random.default_rng(0).integers(0, 256, (2, 16, 32, 32, 3), np.uint8)
    clips[1] = clips[1, :1]
    moving, standing = teacher(clips)["motion"].values
    assert moving > standing == pytest.approx(0, abs=1e-4)
    assert (target.kind, target.window_s, target.tuned_on.heard) == ("scalar", 16 / 30, ())


@pytest.mark.parametrize("weights", ["", "/there/is/no/such.pth"])
def test_weights_that_are_missing_are_named(weights):
    with pytest.raises(UserError, match=r"Get S2D's landmark network .* motion=face_motion:LANDMARK_WEIGHTS"):
        kind.load("motion", kind.Options(weights), torch.device("cpu"), "float32")
