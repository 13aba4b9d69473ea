"""Teachers of words: from a list of texts to teachers that the labeling job asks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_texts import WORDS, write_texts
from transformers import BertConfig, BertForMaskedLM

from liser_ray.finetuning.config import NewModel, WordsConfig, WordsTrainSettings
from liser_ray.finetuning.job import finetune
from liser_ray.finetuning.words import new_classifier, tuned_from
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.transformers_folders import read_tokenizer

CPU = torch.device("cpu")
SMALL = NewModel(pieces=400, hidden_size=64, layers=1, heads=2, dropout=0.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    return WordsConfig(
        labeled=write_texts(folder / "said.csv"),
        output=str(folder / "out"),
        base="",
        new_model=SMALL,
        train=WordsTrainSettings(epochs=15, patience=15, batch_size=8, learning_rate=3e-3),
        workers=0,
    )


@pytest.fixture(scope="module")
def result(config):
    return finetune(config)


def test_texts_without_files_give_a_teacher_for_each_fold(config, result):
    assert result.labels == ("angry", "happy", "sad")
    assert result.evaluation["overall"]["recordings"]["uar"] > 0.8
    assert finetune(config).trained == ()
    teacher = read_teachers([f"words=words:{config.output}/fold-*"])[0].load(CPU)
    for number, target in enumerate(teacher.targets):
        assert (target.name, target.window_s, target.embedding_size) == (f"words_fold_{number}", 0, 64)
        assert target.labels == result.labels
        assert (target.tuned_on.labeled, target.tuned_on.fold) == ("said", number)
        assert not {str(k) for k in range(6) if k % 2 == number} & {*target.tuned_on.heard}
        assert target.held_out.uar > 0.8
        assert 0.05 <= target.temperature <= 20
    answers = teacher(np.array([f"It was so {word}." for word in ("unfair", "lovely", "grey")]))
    for answer in answers.values():
        assert answer.values.argmax(axis=1).tolist() == [0, 1, 2]
        np.testing.assert_allclose(answer.values.sum(axis=1), 1, rtol=1e-5)


def test_a_share_is_of_speakers_since_not_every_recording_has_a_text(config):
    with pytest.raises(UserError, match=r"Give --train\.labeled_by speaker to both"):
        finetune(replace(config, train=replace(config.train, labeled_fraction=0.5)))


def test_pieces_of_words_are_of_the_training_texts_alone(config, result):
    vocabulary = read_tokenizer(Path(config.output, "fold-0")).get_vocab()
    card = json.loads(Path(config.output, "fold-0/bundle.json").read_text())
    assert {f"Ġword{'abcdef'[int(one)]}" in vocabulary for one in card["speakers"]["train"]} == {True}
    assert {f"Ġword{'abcdef'[int(one)]}" in vocabulary for one in card["speakers"]["test"]} == {False}


def test_the_same_seed_gives_the_same_teacher(config, tmp_path):
    few = replace(config, folds="0", train=replace(config.train, epochs=1))
    weights = []
    for name in ("one", "other"):
        finetune(replace(few, output=str(tmp_path / name)))
        folder = tmp_path / name / "fold-0"
        weights.append((folder / "model.safetensors").read_bytes() + (folder / "tokenizer.json").read_bytes())
    assert weights[0] == weights[1]


def test_a_pretrained_model_is_tuned_under_a_new_head(config, tmp_path):
    texts = [f"it is {word}" for words in WORDS.values() for word in words]
    base = new_classifier(texts, ("a", "b", "c", "d"), SMALL, 3, CPU)
    for one in base:
        one.save_pretrained(tmp_path / "base")
    tuned, tokenizer = tuned_from(tmp_path / "base", ("angry", "happy", "sad"), 0, CPU)
    assert tuned.config.id2label == {0: "angry", 1: "happy", 2: "sad"}
    assert tuned.classifier.out_features == 3
    for name, weight in base.model.bert.named_parameters():
        torch.testing.assert_close(tuned.bert.get_parameter(name), weight, rtol=0, atol=0)
    assert tokenizer.get_vocab() == base.tokenizer.get_vocab()
    train = replace(config.train, epochs=12)
    found = finetune(replace(config, base=str(tmp_path / "base"), output=str(tmp_path / "out"), folds="0", train=train))
    assert found.bundles[0].content["base"]["name"] == str(tmp_path / "base")
    assert found.evaluation["overall"]["recordings"]["uar"] > 0.5


def test_a_model_without_a_head_will_do_and_one_without_a_body_will_not(tmp_path):
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertForMaskedLM(BertConfig(**tiny, vocab_size=20))
    model.save_pretrained(tmp_path)
    new_classifier(["a"], ("a", "b"), SMALL, 0, CPU).tokenizer.save_pretrained(tmp_path)
    assert tuned_from(tmp_path, ("x", "y"), 0, CPU).model.classifier.out_features == 2
    del model.bert.encoder.layer[0].attention.output
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks weights of the pretrained model itself: bert\.encoder\.layer\.0"):
        tuned_from(tmp_path, ("x", "y"), 0, CPU)
    with pytest.raises(UserError, match="can't be shared by 3 heads"):
        NewModel(hidden_size=16, heads=3)
