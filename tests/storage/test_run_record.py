import json

import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.storage.run_record import plain, refuse_changed_recipe

TRAIN = {"epochs": 40, "crop_s": 3.0, "lora": {"rank": 8}}
RECIPE = {"seed": 0, "labels": ["happy", "sad"], "train": TRAIN}
GROWN = RECIPE | {"train": TRAIN | {"lora": {"rank": 8, "alpha": 16}}}


@pytest.fixture
def begun(tmp_path):
    """The run card of an output that was begun with `RECIPE`."""
    card = tmp_path / "teachers" / "run.json"
    card.parent.mkdir()
    card.write_text(json.dumps({"started": "today", "recipe": RECIPE}))
    return str(card)


def test_a_new_output_takes_any_recipe_and_the_same_goes_on(begun, tmp_path):
    refuse_changed_recipe(str(tmp_path / "new" / "run.json"), RECIPE | {"seed": 1})
    refuse_changed_recipe(begun, dict(reversed(RECIPE.items())))
    refuse_changed_recipe(begun, plain(RECIPE | {"labels": ("happy", "sad")}))
    assert plain({"labels": ("happy", "sad"), 1: None}) == {"labels": ["happy", "sad"], "1": None}


def test_without_teachers_it_goes_on_too(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"recipe": targets()}))
    refuse_changed_recipe(str(tmp_path / "run.json"), targets())


def targets(**by_name):
    return {"targets": [{"name": name, "sha256": sha, "held_out": {"uar": 0.5}} for name, sha in by_name.items()]}


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        (targets(face="a", speech="c"), ["targets.energy: is gone", "targets.speech.sha256: differs"]),
        (targets(face="a", energy="b", speech="b", pitch="d"), ["targets.pitch: is new"]),
        (targets(), [f"targets.{name}: is gone" for name in ("energy", "face", "speech")]),
        (
            targets(energy="b", face="a", speech="b"),
            ['order of targets: was ["face", "energy", "speech"], is now ["energy", "face", "speech"]'],
        ),
    ],
)
def test_other_teachers_are_named(tmp_path, now, differences):
    card = tmp_path / "run.json"
    card.write_text(json.dumps({"recipe": targets(face="a", energy="b", speech="b")}))
    with pytest.raises(UserError) as caught:
        refuse_changed_recipe(str(card), now)
    assert str(caught.value).splitlines()[1:-1] == [f"  {one}" for one in differences]


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        (
            RECIPE | {"seed": 1, "train": {"epochs": 40, "crop_s": 1.5, "lora": {"rank": 4}}},
            ["seed: was 0, is now 1", "train.crop_s: was 3.0, is now 1.5", "train.lora.rank: was 8, is now 4"],
        ),
        (RECIPE | {"labels": ["sad", "happy"]}, ['labels: was ["happy", "sad"], is now ["sad", "happy"]']),
        (RECIPE | {"train": None}, ["train: is gone"]),
        (GROWN, ["train.lora.alpha: was null, is now 16"]),
        (RECIPE | {"train": TRAIN | {"lora": {}}}, ["train.lora.rank: was 8, is now null"]),
    ],
)
def test_a_changed_recipe_is_refused_with_each_difference(begun, now, differences):
    with pytest.raises(UserError) as caught:
        refuse_changed_recipe(begun, now)
    assert str(caught.value).splitlines() == [
        f"{begun.removesuffix('/run.json')} was begun with other settings:",
        *(f"  {one}" for one in differences),
        "Give the same settings again, or another --output.",
    ]
