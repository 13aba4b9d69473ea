"""A teacher that has heard whom a student is scored on is refused, of whatever kind it is."""

import json
from pathlib import Path

import pytest
import torch
from small_students import write_student
from small_teachers import SPEECH_LABELS, make_teachers, make_words_teachers, mean_colour_onnx

from liser_ray.corpora.folds import Fold
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import TRUSTED
from liser_ray.student.data.labels_table import LabelsTable, choose_target
from liser_ray.teachers import kinds
from liser_ray.teachers.kinds import HEARD_FILE, read_teachers
from liser_ray.teachers.prosody.network import ProsodyNetwork
from liser_ray.teachers.prosody.teacher import write_prosody_network
from liser_ray.teachers.targets import Target

FOLD = Fold(0, train=frozenset("1234"), validation=frozenset("56"), test=frozenset("78"))
KINDS = ("s2d", "face", "action_units", "speech", "student", "prosody", "words", "toys.loudness")
MEASUREMENTS = {"energy": False, "face_motion": True, "speaks": True}
"""They have heard nobody, and say so; whether they need the landmarks' weights."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, list[Path]]:
    """Addresses of a small teacher of each kind."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "faces").mkdir()
    mean_colour_onnx(folder / "faces/m.onnx", ("n", 3, 8, 8))
    description = folder / "faces/face.yaml"
    description.write_text("weights: m.onnx\nlabels: [happy, sad, angry]\ninput_px: 8\n")
    (folder / "units").mkdir()
    mean_colour_onnx(folder / "units/m.onnx", ("n", 3, 8, 8))
    (folder / "units/units.yaml").write_text("weights: m.onnx\nlabels: [brows, corners, jaw]\ninput_px: 8\n")
    (folder / "units/rules.yaml").write_text("units: {12: {scores: [corners], above: 0.5}}\nrules: {happy: [[12]]}\n")
    (folder / "loudness").mkdir()
    (folder / "loudness/factor.txt").write_text("2")
    (folder / "prosody").mkdir()
    write_prosody_network(folder / "prosody", ProsodyNetwork(len(SPEECH_LABELS)), SPEECH_LABELS, "torch")
    make_words_teachers(folder / "words")
    made = make_teachers(folder)
    return {
        "s2d": [Path(made.s2d), Path(made.landmarks)],
        "face": [description],
        "action_units": [folder / "units/units.yaml", folder / "units/rules.yaml"],
        "speech": [folder / "fold-0"],
        "prosody": [folder / "prosody"],
        "words": [folder / "words/fold-0"],
        "student": [write_student(folder / "student", speakers={})],
        "toys.loudness": [folder / "loudness/factor.txt"],
    }


@pytest.fixture(params=KINDS)
def load(request, weights):
    """The target of a teacher that says that it has heard these speakers; with None it says nothing."""
    addresses = weights[request.param]
    beside = addresses[0] if addresses[0].is_dir() else addresses[0].parent

    def loaded(heard, labeled="ravdess"):
        (beside / HEARD_FILE).unlink(missing_ok=True)
        if heard is not None:
            (beside / HEARD_FILE).write_text(json.dumps({"labeled": labeled, "fold": 0, "heard": heard}))
        (entry,) = read_teachers([f"face={request.param}:{','.join(map(str, addresses))}"])
        (target,) = entry.load(torch.device("cpu")).targets
        return Target.from_json(json.loads(json.dumps(target.to_json())))  # as a table's metadata has it

    yield loaded
    (beside / HEARD_FILE).unlink(missing_ok=True)


def choose(target, trusted=("face",)):
    table = LabelsTable("labels", (), {target.name: target}, {}, "")
    return choose_target(table, "face", "ravdess", {"ravdess": SPEECH_LABELS}, FOLD, trusted)


def test_there_is_no_other_kind():
    files = {path.stem for path in Path(kinds.__file__).parent.glob("[a-z]*.py")}
    assert {*files, *kinds._ABOVE, "toys.loudness"} == {*KINDS, *MEASUREMENTS}


@pytest.mark.parametrize("kind", MEASUREMENTS)
def test_who_measures_has_heard_nobody_and_need_not_be_trusted(weights, kind):
    address = weights["s2d"][1] if MEASUREMENTS[kind] else ""
    (entry,) = read_teachers([f"face={kind}:{address}"])
    (target,) = entry.load(torch.device("cpu")).targets
    assert choose(target, trusted=()).tuned_on.heard == ()


@pytest.mark.parametrize("heard", ["17", "5", "678"])
def test_a_leak_is_refused_even_of_a_teacher_that_is_trusted(load, heard):
    both = ", ".join(sorted({*heard} & {*"5678"}))
    with pytest.raises(UserError, match=f"The teacher of face was tuned on speakers {both} of ravdess"):
        choose(load(list(heard)))


def test_who_has_heard_others_teaches_and_need_not_be_trusted(load):
    assert choose(load(["1", "3"]), trusted=()).tuned_on.heard == ("1", "3")
    assert choose(load(["7"], "cremad"), trusted=()).tuned_on.labeled == "cremad"
    assert choose(load([], ""), trusted=()).tuned_on.heard == ()


def test_who_does_not_say_has_to_be_trusted(load):
    assert choose(load(None), trusted=TRUSTED).tuned_on is None
    with pytest.raises(UserError, match="does not say whom it has heard"):
        choose(load(None), trusted=())


def test_speakers_of_other_names_than_the_sets_are_noticed(load):
    with pytest.raises(UserError, match=r"has heard 01, 07 of ravdess, which has no such speakers, but 1, 2, 3"):
        choose(load(["01", "07"]))


def test_the_weights_of_a_face_teacher_may_lie_elsewhere_than_its_description(weights, tmp_path):
    onnx = weights["face"][0].with_name("m.onnx")
    (tmp_path / "face.yaml").write_text(f"weights: {onnx}\nlabels: [happy, sad, angry]\ninput_px: 8\n")
    (onnx.parent / HEARD_FILE).write_text(json.dumps({"labeled": "ravdess", "fold": 0, "heard": ["7"]}))
    (entry,) = read_teachers([f"face=face:{tmp_path}/face.yaml"])
    (target,) = entry.load(torch.device("cpu")).targets
    (onnx.parent / HEARD_FILE).unlink()
    with pytest.raises(UserError, match="was tuned on speakers 7 of ravdess"):
        choose(target)


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"labeled": "ravdess", "fold": 0, "heard": "12"}'])
def test_a_file_that_says_something_else(weights, text):
    folder = weights["toys.loudness"][0].parent
    (folder / HEARD_FILE).write_text(text)
    (entry,) = read_teachers([f"loudness=toys.loudness:{folder}/factor.txt"])
    with pytest.raises(UserError, match="does not say whom the teacher has heard"):
        entry.load(torch.device("cpu"))
    (folder / HEARD_FILE).unlink()
