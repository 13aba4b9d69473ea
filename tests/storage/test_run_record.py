import json

import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.storage.run_record import plain, refuse_changed_recipe

RECIPE = {"seed": 0, "labels": ["happy", "sad"], "train": {"epochs": 40, "crop_s": 3.0, "lora": {"rank": 8}}}


@pytest.fixture
def begun(tmp_path):
    """The run card of an output that was begun with `RECIPE`."""
    card = tmp_path / "teachers" / "run.json"
    card.parent.mkdir()
    card.write_text(json.dumps({"started": "today", "recipe": RECIPE}))
    return str(card)


def refusal(card, recipe):
    with pytest.raises(UserError) as caught:
        refuse_changed_recipe(card, recipe)
    return str(caught.value)


def changed(**settings):
    return RECIPE | settings


def test_a_new_output_takes_any_recipe(tmp_path):
    refuse_changed_recipe(str(tmp_path / "new" / "run.json"), RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_the_same_recipe_goes_on(begun):
    refuse_changed_recipe(begun, json.loads(json.dumps(RECIPE)))
    refuse_changed_recipe(begun, dict(reversed(RECIPE.items())))
    assert "lora.rank" in refusal(begun, changed(train=RECIPE["train"] | {"lora": {"rank": 16}}))  # it did compare


def test_a_tuple_is_the_list_that_json_makes_of_it(begun):
    assert plain({"labels": ("happy", "sad"), 1: None}) == {"labels": ["happy", "sad"], "1": None}
    refuse_changed_recipe(begun, plain(changed(labels=("happy", "sad"))))


def test_a_changed_recipe_is_refused_with_each_difference(begun):
    now = changed(seed=1, train={"epochs": 40, "crop_s": 1.5, "lora": {"rank": 4}})
    assert refusal(begun, now).splitlines() == [
        f"{begun.removesuffix('/run.json')} was begun with other settings:",
        "  seed: was 0, is now 1",
        "  train.crop_s: was 3.0, is now 1.5",
        "  train.lora.rank: was 8, is now 4",
        "Give the same settings again, or another --output.",
    ]


def test_settings_that_came_or_went_are_named(begun):
    now = {"seed": 0, "train": RECIPE["train"], "base": "hubert"}
    lines = refusal(begun, now).splitlines()
    assert lines[1:-1] == ['  base: was null, is now "hubert"', '  labels: was ["happy", "sad"], is now null']


def test_a_part_may_grow_and_what_it_had_stays(begun):
    grown = changed(train={**RECIPE["train"], "lora": {"rank": 8, "alpha": 16}, "seed": 1})
    assert refusal(begun, grown).splitlines()[1:-1] == [
        "  train.lora.alpha: was null, is now 16",
        "  train.seed: was null, is now 1",
    ]
    with pytest.raises(UserError, match=r"settings:\n  train\.seed: was null, is now 1\nGive"):
        refuse_changed_recipe(begun, grown, may_grow="train.lora")
    with pytest.raises(UserError, match=r"train\.lora\.rank: was 8, is now null"):
        refuse_changed_recipe(begun, changed(train={**RECIPE["train"], "lora": {}}), may_grow="train.lora")


def test_the_order_of_a_list_matters(begun):
    message = refusal(begun, changed(labels=["sad", "happy"]))
    assert 'labels: was ["happy", "sad"], is now ["sad", "happy"]' in message


def test_a_group_that_became_a_value_is_named(begun):
    message = refusal(begun, changed(train=None))
    assert "train: was {" in message
    assert "is now null" in message
