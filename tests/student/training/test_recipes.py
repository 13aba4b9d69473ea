from dataclasses import replace

import pytest

from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.network import EmotionClassifier, count_parameters
from liser_ray.student.training.config import AugmentConfig, StudentConfig, TrainConfig
from liser_ray.student.training.recipes import defaults_of, loss_of, run_name

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
    loss = loss_of(recipe, GIVEN)
    assert (loss.lambda_sd, loss.lambda_vd, loss.confidence) == (lambda_sd, lambda_vd, confidence)


def test_confidence_is_calibrated_where_asked_for_and_only_in_its_recipe():
    calibrated = LossConfig(confidence="calibrated")
    assert loss_of("conf-vid-sp-dstl", calibrated).confidence == "calibrated"
    assert loss_of("vid-sp-dstl", calibrated).confidence == "none"


def parse(*arguments):
    return parse_settings(StudentConfig, "", arguments, defaults=defaults_of)


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
    assert run_name("strong-conf-sp-dstl", calibrated, False, 1.0, True) == "strong-conf-sp-dstl+self+calibrated"
    assert run_name("vid-dstl", GIVEN, False, 1.0, True) == "vid-dstl"


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
