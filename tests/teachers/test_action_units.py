"""Emotions by rules on action units: each picture of a clip has a vote."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_teachers import mean_colour_onnx

from liser_ray.corpora.labels import SYNONYMS
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.action_units import Rules, Unit, make_voter, read_rules
from liser_ray.teachers.batches import pictures
from liser_ray.teachers.blendshapes import NAMES, Blendshapes
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.landmarks import landmarks
from liser_ray.teachers.mobilefacenet import load_mobilefacenet

EMFACS = Path(__file__).parents[2] / "configs/action_units/emfacs.yaml"
MODEL = """
weights: m.onnx
labels: [brows, corners, jaw]
input_px: 8
mean: [0, 0, 0]
std: [1, 1, 1]
output: probabilities
"""
RULES = """
units:
  1: {scores: [brows], above: 0.5}
  12: {scores: [corners], above: 0.5}
  26: {scores: [jaw], above: 0.5}
rules:
  happy: [[12]]
  surprised: [[1, 26]]
"""


def vote(rules: Rules, names, **scores) -> str:
    """The label of one picture with these scores; the others are 0."""
    voter = make_voter(rules, names, "rules.yaml")
    return voter.labels[voter.votes(torch.tensor([[scores.get(name, 0.0) for name in names]]))[0]]


class TestEmfacs:
    """The rules that come with the package, on MediaPipe's blendshapes."""

    rules = read_rules(EMFACS)

    def of(self, *units: int, strength: float = 0.9) -> str:
        names = [name for unit in units for name in self.rules.units[unit].scores]
        return vote(self.rules, NAMES, **dict.fromkeys(names, strength))

    @pytest.mark.parametrize(
        ("units", "emotion"),
        [
            ([], "neutral"),
            ([6, 12], "happy"),
            ([12], "happy"),
            ([1, 4, 15], "sad"),
            ([1, 2, 5, 26], "surprised"),
            ([1, 2, 4, 5, 7, 20, 26], "fearful"),  # and not surprised, whose four units are among them
            ([4, 5, 7, 23], "angry"),
            ([9, 15], "disgust"),
            ([10, 17], "disgust"),
        ],
    )
    def test_each_emotion(self, units, emotion):
        assert self.of(*units) == emotion

    @pytest.mark.parametrize("units", [[6], [1, 4], [1, 2, 5], [4, 5, 7], [9], [10], [26]])
    def test_a_part_of_a_combination_tells_nothing(self, units):
        assert self.of(*units) == "neutral"

    def test_weak_units_are_none(self):
        assert self.of(12, strength=0.2) == "neutral"

    def test_one_side_of_a_mouth_is_half_a_smile(self):
        assert vote(self.rules, NAMES, mouthSmileLeft=0.7) == "neutral"

    def test_its_labels_are_known(self):
        assert {*self.rules.rules} <= {*SYNONYMS}

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=52, max_size=52), min_size=1, max_size=6))
    def test_a_vote_is_for_a_rule_that_fires_with_as_many_units_as_any(self, frames):
        voter = make_voter(self.rules, NAMES, "rules.yaml")
        for frame, told in zip(frames, voter.votes(torch.tensor(frames)).tolist(), strict=True):
            scores = dict(zip(NAMES, frame, strict=True))
            units = {number: np.mean([scores[one] for one in unit.scores]) for number, unit in self.rules.units.items()}
            # What float32 may round to either side of a threshold proves nothing.
            if any(abs(units[number] - unit.above) < 1e-5 for number, unit in self.rules.units.items()):
                continue
            there = {number for number, unit in self.rules.units.items() if units[number] > unit.above}
            sizes = {
                emotion: max((len(one) for one in of if there.issuperset(one)), default=0)
                for emotion, of in self.rules.rules.items()
            }
            emotion = voter.labels[told]
            assert sizes.get(emotion, 0) == max(sizes.values())


def test_of_combinations_of_one_size_the_stronger_one_counts():
    rules = Rules({1: Unit(("a",), 0.1), 2: Unit(("b",), 0.1)}, {"happy": [[1]], "sad": [[2]]})
    assert vote(rules, ("a", "b"), a=0.5, b=0.6) == "sad"
    assert vote(rules, ("a", "b"), a=0.6, b=0.5) == "happy"


def write(folder: Path, model: str = MODEL, rules: str = RULES) -> dict[str, str]:
    """Settings of a teacher whose scores are the mean of each colour."""
    mean_colour_onnx(folder / "m.onnx", ("n", 3, 8, 8))
    (folder / "units.yaml").write_text(model)
    (folder / "rules.yaml").write_text(rules)
    return {"kind": "action_units", "weights": f"{folder}/units.yaml", "rules": f"{folder}/rules.yaml"}


def load(settings):
    (entry,) = read_teachers({"emotions": settings})
    return entry.load(torch.device("cpu"))


def test_an_onnx_model_of_action_units_gives_the_share_of_pictures(tmp_path):
    teacher = load(write(tmp_path))
    (target,) = teacher.targets
    clips = np.zeros((2, 16, 224, 224, 3), np.uint8)
    clips[0, :4, ..., 1] = 200  # corners: happy
    clips[0, 4:12, ..., ::2] = 200  # brows and jaw: surprised
    found = teacher(clips)["emotions"].values
    assert target.labels == ("neutral", "happy", "surprised")
    assert found.tolist() == [[0.25, 0.25, 0.5], [1, 0, 0]]
    assert (target.kind, target.window_s, target.tuned_on) == ("distribution", 16 / 30, None)


def test_logits_become_scores(tmp_path):
    model = MODEL.replace("probabilities", "logits").replace("mean: [0, 0, 0]", "mean: [0.5, 0.5, 0.5]")
    clips = np.full((1, 16, 224, 224, 3), 51, np.uint8)  # -0.3
    clips[..., 1] = 204  # +0.3
    assert load(write(tmp_path, model))(clips)["emotions"].values.tolist() == [[0, 1, 0]]


def test_other_rules_are_another_target(tmp_path):
    plain = load(write(tmp_path)).targets[0]
    other = load(write(tmp_path, rules=RULES.replace("0.5", "0.6"))).targets[0]
    assert plain.sha256 != other.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": ""}, "units of the scores browDownLeft, .* and the model gives brows, corners, jaw"),
        ({"rules": "/there/is/no.yaml"}, "no.yaml does not exist"),
        ({"weights": ""}, "Get MediaPipe's face_landmarker.task .* emotions=action_units:face_landmarker.task"),
        ({"weights": "/there/is/no.task"}, "Get MediaPipe's face_landmarker.task"),
    ],
)
def test_what_is_missing_is_said(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load(write(tmp_path) | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("labels: [brows, corners, jaw]", "labels: [brows, jaw]"), r"gives \(2, 3\) for 2 frames, .* 2 labels"),
        (("mean: [0, 0, 0]", "mean: [0.5, 0.5, 0.5]"), "scores that are not in 0..1. Set output: logits"),
        (("input_px: 8", "input_px: 9"), "does not take frames"),
    ],
)
def test_a_model_that_is_not_as_described(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, MODEL.replace(*change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("happy: [[12]]", "happy: [[12, 14]]"), "a rule needs the units 14"),
        (("happy: [[12]]", "happy: []"), "give each emotion of rules"),
        (("happy: [[12]]", "happy: [[]]"), "give each emotion of rules"),
        (("happy: [[12]]", "neutral: [[12]]"), "neutral is where no rule fires"),
        (("happy: [[12]]", "happy: twelve"), "has no rules of action units"),
        (("above: 0.5", "above: 50"), "above, from 0 to below 1"),
        (("above: 0.5", "from: 0.5"), "has no rules of action units"),
        (("scores: [brows]", "scores: []"), "the names of its scores"),
        (("units:", "unit:"), "has no rules of action units"),
        ((RULES, "[]"), "give units and rules"),
        ((RULES, "{"), "has no rules of action units"),
    ],
)
def test_rules_that_are_wrong(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, rules=RULES.replace(*change)))


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_landmarker_that_is_none(tmp_path, content):
    (tmp_path / "face_landmarker.task").write_bytes(content)
    with pytest.raises(UserError, match="is not MediaPipe's face landmarker"):
        load({"kind": "action_units", "weights": f"{tmp_path}/face_landmarker.task"})


def test_the_real_landmarker_sees_a_mouth_open(landmarker_file, landmark_file, real_clips):
    scores = Blendshapes(Path(landmarker_file))(pictures(torch.from_numpy(real_clips))).numpy()
    assert scores.shape == (80, 52)
    assert 0 <= scores.min() < scores.max() <= 1
    points = landmarks(load_mobilefacenet(Path(landmark_file)), torch.from_numpy(real_clips)).flatten(0, 1).numpy()
    opening = np.linalg.norm(points[:, 66] - points[:, 62], axis=1)  # inner lips, by another network
    assert np.corrcoef(opening, scores[:, NAMES.index("jawOpen")])[0, 1] > 0.8


def test_the_real_landmarker_is_a_teacher_that_has_heard_nobody(landmarker_file, real_clips):
    teacher = load({"kind": "action_units", "weights": landmarker_file})
    (target,) = teacher.targets
    assert target.tuned_on.heard == ()
    assert target.labels == ("neutral", "happy", "sad", "surprised", "fearful", "angry", "disgust")
    together = teacher(np.concatenate([real_clips, real_clips[:1]]))["emotions"].values
    assert together.sum(axis=1) == pytest.approx(1)
    assert together[2].tolist() == together[0].tolist() == teacher(real_clips[:1])["emotions"].values[0].tolist()
