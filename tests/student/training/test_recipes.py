from dataclasses import replace

import pytest

from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.network import EmotionClassifier, count_parameters
from liser_ray.student.training.config import AugmentConfig, StudentConfig, TrainConfig
from liser_ray.student.training.recipes import defaults_of, read_recipe, recipe_names, run_name

GIVEN = LossConfig(lambda_sd=5.0, lambda_vd=0.1)


@pytest.mark.parametrize(
    ("recipe", "lambda_sd", "lambda_vd", "confidence"),
    [
        ("no-dstl", 0, 0, "none"),
        ("vid-dstl", 0, 0.1, "none"),
        ("sp-dstl", 5, 0, "none"),
        ("vid-sp-dstl", 5, 0.1, "none"),
        ("conf-vid-sp-dstl", 5, 0.1, "raw"),
        ("strong", 0, 0, "none"),
        ("strong-50k", 0, 0, "none"),
        ("strong-sp-dstl", 5, 0, "none"),
        ("strong-conf-sp-dstl", 5, 0, "raw"),
        ("strong-vid-sp-dstl", 5, 0.1, "none"),
    ],
)
def test_the_rows_of_table_2_and_ours(recipe, lambda_sd, lambda_vd, confidence):
    loss = read_recipe(recipe).loss(GIVEN)
    assert (loss.lambda_sd, loss.lambda_vd, loss.confidence) == (lambda_sd, lambda_vd, confidence)


def test_confidence_is_calibrated_where_asked_for_and_only_in_its_recipe():
    calibrated = LossConfig(confidence="calibrated")
    assert read_recipe("conf-vid-sp-dstl").loss(calibrated).confidence == "calibrated"
    assert read_recipe("vid-sp-dstl").loss(calibrated).confidence == "none"


def parse(*arguments):
    return parse_settings(StudentConfig, "", arguments, defaults=defaults_of)


@pytest.mark.parametrize("recipe", recipe_names())
def test_each_recipe_that_comes_with_the_package_can_be_read(recipe):
    config = parse("--recipe", recipe)
    assert read_recipe(recipe).name == run_name(recipe, config.loss, False, 1.0) == recipe
    assert read_recipe(recipe).loss(config.loss).confidence == config.loss.confidence


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: strong\nteachers: [speech]\ntrain:\n  augment:\n    speeds: [0.9, 1.1]\n")
    config = parse("--recipe", str(file))
    strong = parse("--recipe", "strong")
    assert config.network == strong.network
    assert config.train.augment == replace(strong.train.augment, speeds=(0.9, 1.1))
    assert (
        read_recipe(str(file)).loss(LossConfig()).lambda_vd == 0 < read_recipe(str(file)).loss(LossConfig()).lambda_sd
    )
    assert run_name(str(file), config.loss, False, 1.0) == "mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no-dstl, sp-dstl"),
        ("teachers: [dog]", "dog"),
        ("lr: 1", "teachers"),
        ("- 1", "can't be read"),
        ("a: [", "can't"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, text, words):
    file = tmp_path / "mine.yaml"
    file.write_text(text or "")
    with pytest.raises(UserError, match=words):
        read_recipe("strnog" if text is None else str(file))


def test_a_recipe_brings_its_settings_and_what_is_given_goes_before(tmp_path):
    assert parse("--recipe", "no-dstl") == StudentConfig(recipe="no-dstl")
    strong = parse("--recipe", "strong")
    assert strong.network != NetworkConfig()
    assert strong.train.keep == "last"
    assert parse("--recipe", "strong-sp-dstl") == replace(strong, recipe="strong-sp-dstl")
    file = tmp_path / "settings.yaml"
    file.write_text("recipe: strong\ntrain:\n  epochs: 7\n")
    changed = replace(strong, train=replace(strong.train, epochs=7))
    assert parse("--config", str(file)) == parse("--recipe", "strong", "--train.epochs", "7") == changed


@pytest.mark.parametrize(("recipe", "most"), [("strong", 105_143), ("strong-50k", 50_000)])
def test_the_strong_students_are_no_larger_than_they_may_be(recipe, most):
    network = parse("--recipe", recipe).network
    assert most / 2 < count_parameters(EmotionClassifier(8, network)) <= most


def test_runs_are_called_what_the_tables_call_them():
    ce, calibrated = LossConfig(distillation="ce"), LossConfig(confidence="calibrated")
    assert run_name("conf-vid-sp-dstl", GIVEN, False, 1.0) == "conf-vid-sp-dstl"
    assert run_name("vid-dstl", ce, False, 1.0) == "vid-dstl+distill-ce"
    assert run_name("sp-dstl", GIVEN, True, 1.0) == "sp-dstl+two-stage"
    assert run_name("conf-vid-sp-dstl", calibrated, False, 1.0) == "conf-vid-sp-dstl+calibrated"
    assert run_name("no-dstl", ce, False, 0.5) == "no-dstl+50%-labels"


@pytest.mark.parametrize(
    ("kind", "settings", "word"),
    [
        (TrainConfig, {"epochs": 0}, "epochs"),
        (TrainConfig, {"batch_size": 1}, "batch_size"),
        (TrainConfig, {"labeled_per_batch": 25}, "labeled_per_batch"),
        (TrainConfig, {"labeled_fraction": 0.0}, "labeled_fraction"),
        (TrainConfig, {"learning_rate": 0.0}, "learning_rate"),
        (TrainConfig, {"ema_decay": 1.0}, "ema_decay"),
        (AugmentConfig, {"mixup_alpha": -1.0}, "mixup_alpha"),
        (AugmentConfig, {"max_bands": 65}, "max_bands"),
        (AugmentConfig, {"speeds": (1.0, 1.0)}, "speeds"),
        (AugmentConfig, {"speeds": (0.1,)}, "speeds"),
        (TrainConfig, {"validate_every": 0}, "validate_every"),
        (StudentConfig, {"workers": 13}, "workers"),
        (StudentConfig, {"memory_gb": -1.0}, "memory_gb"),
        (StudentConfig, {"min_video_valid": 1.5}, "min_video_valid"),
    ],
)
def test_settings_without_sense_are_refused(kind, settings, word):
    with pytest.raises(UserError, match=word):
        kind(**settings)
