from dataclasses import replace

import pytest

from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.network import EmotionClassifier, count_parameters
from liser_ray.student.training.config import AugmentConfig, StudentConfig, TrainConfig
from liser_ray.student.training.recipes import bases_of, defaults_of, read_recipe, recipe_names, run_name

PLAIN = TrainConfig()
PIECES = AugmentConfig(pieces=0.5)


@pytest.mark.parametrize(
    ("recipe", "names", "confidence"),
    [
        ("no-dstl", [], "none"),
        ("vid-dstl", ["face"], "none"),
        ("sp-dstl", ["speech"], "none"),
        ("vid-sp-dstl", ["speech", "face"], "none"),
        ("conf-vid-sp-dstl", ["speech", "face"], "raw"),
        ("strong", [], "none"),
        ("strong-50k", [], "none"),
        ("strong-sp-dstl", ["speech"], "none"),
        ("strong-conf-sp-dstl", ["speech"], "raw"),
        ("strong-vid-sp-dstl", ["speech", "face"], "none"),
        ("pretext", ["energy", "face_motion", "action_units"], "none"),
        ("pretext-joint", ["energy", "face_motion", "action_units"], "none"),
        ("pretext-face-motion", ["face_motion"], "none"),
    ],
)
def test_the_rows_of_table_2_and_ours(recipe, names, confidence):
    loss = read_recipe(recipe).loss(LossConfig())
    assert list(loss.lambdas.items()) == [(name, 1.0) for name in names]  # the order decides on first weights
    assert loss.confidence == confidence


def test_lambdas_are_given_by_name_and_only_those_of_the_recipe():
    config = parse("--recipe", "vid-sp-dstl", "--loss.lambdas.face", "5")
    assert list(read_recipe("vid-sp-dstl").loss(config.loss).lambdas.items()) == [("speech", 1.0), ("face", 5.0)]
    assert read_recipe("vid-sp-dstl").loss(LossConfig({"speech": 0.0})).lambdas == {"face": 1.0}
    for recipe, words in (("sp-dstl", "learns from speech"), ("strong", "learns from labels alone")):
        with pytest.raises(UserError, match=rf"--loss\.lambdas\.face: the recipe {recipe} {words}"):
            read_recipe(recipe).loss(config.loss)


ABLATIONS = {
    "emodistill": ("prosody words", "prosody words"),
    "emodistill-without-logits": ("", "prosody words"),
    "emodistill-without-embeddings": ("prosody words", ""),
    "emodistill-without-prosody": ("words", "words"),
    "emodistill-without-words": ("prosody", "prosody"),
}


@pytest.mark.parametrize("recipe", ABLATIONS)
def test_the_rows_of_emodistills_table(recipe):
    config = parse("--recipe", recipe)
    loss = read_recipe(recipe).loss(config.loss)
    assert [[*loss.lambdas], [*loss.embeddings]] == [names.split() for names in ABLATIONS[recipe]]
    assert {*loss.lambdas.values(), *loss.embeddings.values()} == {1.0}
    assert (loss.heads, loss.distillation, loss.confidence) == ("predicting", "kl", "none")
    strong = parse("--recipe", "strong")
    assert (config.network, config.train) == (strong.network, strong.train)
    assert config.loss.label_smoothing == strong.loss.label_smoothing


def test_weights_and_temperatures_of_either_part_are_given_by_name():
    given = ["--loss.embeddings.words", "0.5", "--loss.temperatures.words", "4", "--loss.lambdas.prosody", "0"]
    config = parse("--recipe", "emodistill", *given, "--loss.temperatures.prosody", "0.5")
    loss = read_recipe("emodistill").loss(config.loss)
    assert loss.embeddings == {"prosody": 1.0, "words": 0.5}
    assert (loss.lambdas, loss.temperatures) == ({"words": 1.0}, {"words": 4.0})
    assert loss.taught == ("words", "prosody")
    for of, words in (("embeddings", "learns from the embeddings of none"), ("temperatures", "learns from speech")):
        with pytest.raises(UserError, match=rf"--loss\.{of}\.words: the recipe sp-dstl {words}"):
            read_recipe("sp-dstl").loss(LossConfig(**{of: {"words": 1.0}}))


def test_confidence_weighs_as_it_is_asked_for_else_as_in_the_recipe():
    for recipe in ("conf-vid-sp-dstl", "vid-sp-dstl"):
        for asked in ("none", "raw", "calibrated"):
            assert (
                read_recipe(recipe).loss(parse("--recipe", recipe, "--loss.confidence", asked).loss).confidence == asked
            )
    assert run_name("conf-vid-sp-dstl", LossConfig(confidence="none"), PLAIN) == "conf-vid-sp-dstl+unweighted"
    assert run_name("vid-sp-dstl", LossConfig(confidence="raw"), PLAIN) == "vid-sp-dstl+raw"


def parse(*arguments):
    return parse_settings(StudentConfig, "", arguments, defaults=defaults_of)


@pytest.mark.parametrize("recipe", recipe_names())
def test_each_recipe_that_comes_with_the_package_can_be_read(recipe):
    config = parse("--recipe", recipe)
    assert read_recipe(recipe).name == run_name(recipe, config.loss, config.train) == recipe
    assert read_recipe(recipe).loss(config.loss).confidence == ("raw" if "conf-" in recipe else "none")


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: strong\nloss: {lambdas: {speech: 2}}\ntrain:\n  augment:\n    speeds: [0.9, 1.1]\n")
    config = parse("--recipe", str(file))
    strong = parse("--recipe", "strong")
    assert config.network == strong.network
    assert config.train.augment == replace(strong.train.augment, speeds=(0.9, 1.1))
    assert read_recipe(str(file)).loss(LossConfig()).lambdas == {"speech": 2}
    assert run_name(str(file), config.loss, config.train) == "mine"


def test_a_recipe_may_have_attributes_and_votes(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("loss: {attributes: {arousal: 0.5}, penalty: 1}\ntrain: {truth: votes}\n")
    config = parse("--recipe", str(file))
    assert (config.loss.attributes, config.loss.penalty, config.train.truth) == ({"arousal": 0.5}, 1, "votes")
    assert run_name(str(file), config.loss, config.train) == "mine"
    assert run_name(str(file), LossConfig(), PLAIN) == "mine+label+no-penalty+no-attributes"
    assert parse("--recipe", str(file), "--loss.attributes.arousal", "2").loss.attributes == {"arousal": 2.0}


def test_a_recipe_may_have_chunks_and_its_name_says_only_what_differs(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: strong\nnetwork: {chunks: 5}\n")
    config = parse("--recipe", str(file))
    assert config.network == replace(parse("--recipe", "strong").network, chunks=5)
    for chunks, name in ((5, "mine"), (7, "mine+7-chunks"), (0, "mine+no-chunks")):
        network = replace(config.network, chunks=chunks)
        assert run_name(str(file), config.loss, config.train, network=network) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no-dstl, sp-dstl"),
        ("loss: {lambdas: [dog]}", "dog"),
        ("loss: {lambdas: {dog: loud}}", "loud"),
        ("loss: {lambdas: {dog: -1}}", "give 0 or more"),
        ("loss: {embeddings: {dog: loud}}", "loud"),
        ("loss: {temperatures: {dog: 0}}", "above 0"),
        ("loss: {lambdas: {1: 1.0}}", "lambdas"),
        ("loss: 1", "loss"),
        ("extends: [strong]", r"extends \(a name\)"),
        ("extends: mine.yaml", r"extends \(a name\)"),
        ("lr: 1", "lambdas"),
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
    two_stage, half = TrainConfig(two_stage=True), TrainConfig(labeled_fraction=0.5)
    assert run_name("conf-vid-sp-dstl", LossConfig({"face": 5.0}), PLAIN) == "conf-vid-sp-dstl"
    assert run_name("vid-dstl", ce, PLAIN) == "vid-dstl+distill-ce"
    assert run_name("sp-dstl", LossConfig(), two_stage) == "sp-dstl+two-stage"
    assert run_name("conf-vid-sp-dstl", calibrated, PLAIN) == "conf-vid-sp-dstl+calibrated"
    assert run_name("no-dstl", ce, half) == "no-dstl+50%-labels"


def test_what_a_recipe_says_is_not_in_the_name_and_what_differs_is():
    config = parse("--recipe", "pretext-energy")
    train, loss = config.train, config.loss
    assert run_name("pretext-energy", loss, replace(train, placebo=True)) == "pretext-energy+placebo"
    assert run_name("pretext-energy", loss, replace(train, two_stage=False)) == "pretext-energy+one-stage"
    assert run_name("pretext-energy", replace(loss, scalars="value"), train) == "pretext-energy+value"
    assert run_name("sp-dstl", LossConfig(scalars="high-low"), PLAIN) == "sp-dstl+high-low"


def test_controls_have_names_of_their_own():
    assert run_name("sp-dstl", LossConfig(), TrainConfig(placebo=True)) == "sp-dstl+placebo"
    assert run_name("no-dstl", LossConfig(), TrainConfig(epoch_steps=738)) == "no-dstl+738-steps"
    assert run_name("no-dstl", LossConfig(), TrainConfig(truth="votes")) == "no-dstl+votes"
    assert run_name("no-dstl", LossConfig(penalty=2.0), PLAIN) == "no-dstl+penalty"
    assert run_name("no-dstl", LossConfig(clusters=8), PLAIN) == "no-dstl+8-clusters"
    chunked = NetworkConfig(chunks=6)
    assert run_name("no-dstl", LossConfig(clusters=8), PLAIN, network=chunked) == "no-dstl+8-clusters+6-chunks"
    attributes = LossConfig(attributes={"arousal": 0.5, "valence": 1.0, "power": 0.0})
    assert run_name("no-dstl", attributes, PLAIN) == "no-dstl+arousal+valence"
    assert run_name("vid-sp-dstl", LossConfig({"face": 0.0}), PLAIN) == "vid-sp-dstl+no-face"
    assert run_name("vid-sp-dstl", LossConfig({"face": 5.0}), PLAIN, ["face"]) == "vid-sp-dstl+no-face"
    for distilled, name in (("both", "sp-dstl+distil-labeled"), ("labeled", "sp-dstl+distil-labeled-only")):
        assert run_name("sp-dstl", LossConfig(), PLAIN, distilled=distilled) == name
        assert run_name("no-dstl", LossConfig(), PLAIN, distilled=distilled) == "no-dstl"
    assert run_name("sp-dstl", LossConfig({"speech": 0.0}), PLAIN) == "sp-dstl+no-speech"
    whole = "emodistill"
    kl = {"distillation": "kl", "heads": "predicting"}
    without = LossConfig({"words": 0.0}, embeddings={"words": 0.0}, **kl)
    assert run_name(whole, without, PLAIN) == run_name(whole, LossConfig(**kl), PLAIN, ["words"]) == f"{whole}+no-words"
    assert run_name(whole, LossConfig({"words": 0.0}, **kl), PLAIN) == f"{whole}+no-words-logits"
    less = LossConfig(embeddings={"words": 0.0}, **kl | {"heads": "own"})
    assert run_name(whole, less, PLAIN, distilled="both") == (f"{whole}+no-words-embedding+heads-own+distil-labeled")


@pytest.mark.parametrize(
    ("run", "recipes"),
    [
        ("strong", ()),
        ("strong-sp-dstl+self", ("strong",)),
        ("strong-50k+50%-labels", ("strong",)),
        ("emodistill-without-words+distil-labeled", ("emodistill", "strong")),
        ("mine", ()),
    ],
)
def test_what_a_runs_recipe_extends(run, recipes):
    assert bases_of(run) == recipes


@pytest.mark.parametrize("wrong", ["epoch: 10", "epochs: many"])
def test_a_wrong_field_of_ones_own_recipe_is_one_clear_message(tmp_path, capsys, wrong):
    (tmp_path / "mine.yaml").write_text(f"extends: strong\ntrain: {{{wrong}}}\n")
    with pytest.raises(SystemExit):
        parse("--recipe", str(tmp_path / "mine.yaml"))
    assert wrong.partition(":")[0] in capsys.readouterr().err


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
        (TrainConfig, {"epoch_steps": -1}, "epoch_steps"),
        (StudentConfig, {"workers": 13}, "workers"),
        (StudentConfig, {"memory_gb": -1.0}, "memory_gb"),
        (StudentConfig, {"min_valid": 1.5}, "min_valid"),
        (StudentConfig, {"network": NetworkConfig(chunks=4), "train": TrainConfig(augment=PIECES)}, "network.chunks"),
        (StudentConfig, {"min_teacher_uar": -0.1}, "min_teacher_uar"),
    ],
)
def test_settings_without_sense_are_refused(kind, settings, word):
    with pytest.raises(UserError, match=word):
        kind(**settings)
