import math

import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.space import combinations, draw, n_values, parse_space, setting_key, setting_name, with_setting
from liser_ray.student.config import LossConfig
from liser_ray.student.training.config import StudentConfig


def test_the_default_is_the_papers_grid():
    config = SearchConfig()
    settings = list(combinations(parse_space(config.default_space, [*config.learned.lambdas])))
    assert len(settings) == 25
    assert settings[1] == {"loss.lambdas.speech": 0.1, "loss.lambdas.face": 0.5}
    assert {one["loss.lambdas.face"] for one in settings} == {0.1, 0.5, 1, 5, 10}
    assert setting_name(settings[1]) == "λ_speech 0.1, λ_face 0.5"
    assert SearchConfig(recipe="vid-dstl").default_space == ("loss.lambdas.face=0.1,0.5,1,5,10",)


def test_temperatures_and_weights_of_embeddings_are_searched_by_target():
    config = SearchConfig(recipe="emodistill-without-words")
    assert config.default_space == ("loss.lambdas.prosody=0.1,0.5,1,5,10",)
    texts = ["loss.temperatures.prosody=0.5,2", "loss.embeddings.prosody=0.1..10"]
    settings = list(combinations(parse_space(texts, [*config.learned.lambdas], [*config.learned.embeddings])))
    assert setting_name(settings[0]) == "τ_prosody 0.5, β_prosody 0.1"
    loss = with_setting(config, settings[-1]).loss
    assert (loss.temperatures, loss.embeddings) == ({"prosody": 2.0}, {"prosody": 10.0})
    for name in ("temperatures.words", "embeddings.words"):
        with pytest.raises(UserError, match="no such field"):
            parse_space([f"loss.{name}=1,2"], [*config.learned.lambdas], [*config.learned.embeddings])


def test_any_field_can_be_searched():
    fields = ["epochs=5,10", "two_stage=true,false", "augment.mixup_alpha=0,0.4"]
    settings = list(combinations(parse_space(["network.pooling=last,mean", *(f"train.{one}" for one in fields)])))
    assert len(settings) == 16
    config = with_setting(StudentConfig(), settings[-1])
    assert (config.train.epochs, config.train.two_stage) == (10, False)
    assert (config.network.pooling, config.train.augment.mixup_alpha) == ("mean", 0.4)
    assert setting_name(settings[0]) == "pooling last, epochs 5, two_stage True, mixup_alpha 0"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("loss.lambdas.speech", "NAME=VALUE"),
        ("loss.lambdas.speech=1 loss.lambdas.speech=2", "twice"),
        ("loss.lambda=1", "no such field"),
        ("loss.lambdas.dog=1", "no such field. There are loss.lambdas.speech, "),
        ("unlabeled=a,b", "no such field"),
        ("network.normalisation=none,utterance", "spectrograms"),
        ("network.chunks=0,6", "spectrograms"),
        ("train.augment.copies=0,3", "spectrograms"),
        ("loss.clusters=0,10", "what is read"),
        ("train.placebo=false,true", "what is read"),
        ("loss.scalars=value,high-low", "targets are made once"),
        ("train.epochs=1.5", "not a whole number"),
        ("loss.lambdas.speech=a", "not a number"),
        ("loss.lambdas.speech=nan", "not finite"),
        ("loss.lambdas.speech=2..1", "must rise"),
        ("network.pooling=last,best", "one or more of last, mean, attention"),
        ("network.pooling=last..mean", "no ranges"),
        ("train.two_stage=0..1", "no ranges"),
    ],
)
def test_what_cannot_be_searched_is_refused(texts, message):
    with pytest.raises(UserError, match=message):
        parse_space(texts.split(), ["speech"])


def test_how_many_settings_there_are_is_known_but_of_real_ranges():
    space = parse_space(["train.epochs=1..3", "network.pooling=last,mean", "network.dropout=0..0.5"])
    assert [n_values(one) for one in space.values()] == [3, 2, math.inf]


def test_values_count_together_whatever_their_order():
    paper = StudentConfig()
    values = {"network.bidirectional": True, "network.pooling": "mean"}
    for given in (values, dict(reversed(values.items()))):
        network = with_setting(paper, given).network
        assert (network.bidirectional, network.pooling) == (True, "mean")
    with pytest.raises(UserError, match="give pooling mean or attention"):
        with_setting(paper, {"network.bidirectional": True})


def test_a_lambda_counts_beside_those_that_are_given():
    config = StudentConfig(loss=LossConfig({"speech": 5.0, "face": 0.5}))
    assert with_setting(config, {"loss.lambdas.face": 2.0}).loss.lambdas == {"speech": 5.0, "face": 2.0}
    with pytest.raises(UserError, match=r"lambdas\.face is -1"):
        with_setting(config, {"loss.lambdas.face": -1.0})


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_draws_lie_in_the_range_and_more_samples_only_add_to_them(seed):
    space = parse_space(["loss.lambdas.speech=0.01..100", "network.dropout=0..0.5", "train.epochs=1..3"], ["speech"])
    settings = draw(space, 200, seed)
    assert settings[:50] == draw(space, 50, seed)
    assert len({setting_key(one) for one in settings}) == len(settings)
    assert all(0.01 <= setting["loss.lambdas.speech"] <= 100 for setting in settings)
    assert 70 < sum(setting["loss.lambdas.speech"] < 1 for setting in settings) < 130  # by its logarithm
    assert 70 < sum(setting["network.dropout"] < 0.25 for setting in settings) < 130  # which 0 has not
    assert {setting["train.epochs"] for setting in settings} == {1, 2, 3}
    # Choices until there are no more.
    assert len(draw(parse_space(["network.pooling=last,mean", "train.epochs=1,2"]), 10, seed=0)) == 4


def test_a_setting_has_the_same_key_in_any_order():
    assert setting_key({"a": 1.0, "b": "x"}) == setting_key({"b": "x", "a": 1.0}) != setting_key({"a": 2.0, "b": "x"})
