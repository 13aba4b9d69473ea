"""The kind `words`: classifiers of texts from disk."""

import numpy as np
import pytest
import torch
from small_teachers import SPEECH_LABELS, make_words_teachers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.words import tokens

CPU = torch.device("cpu")
TEXTS = ["it was a day", "leave me alone, leave me!", "a"]


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return make_words_teachers(tmp_path_factory.mktemp("words"))


def load(weights, **settings):
    return read_teachers({"words": {"kind": "words", "weights": weights, **settings}})[0].load(CPU)


def test_each_folder_gives_a_distribution_and_what_its_last_layer_reads(pattern):
    teacher = load(pattern, batch_size=2)
    assert teacher.takes == "text"
    assert [(one.name, one.labels, one.window_s, one.embedding_size) for one in teacher.targets] == [
        (f"words_fold_{fold}", SPEECH_LABELS, 0.0, 16) for fold in (0, 1)
    ]
    found = teacher(np.array(TEXTS))
    for model in teacher.models:
        answer = found[model.name]
        assert (answer.values.shape, answer.embedding.shape, answer.embedding.dtype) == ((3, 4), (3, 16), np.float16)
        for text, values, embedding in zip(TEXTS, answer.values, answer.embedding, strict=True):
            alone = teacher([text])[model.name]
            np.testing.assert_allclose(values, alone.values[0], rtol=1e-4)
            with torch.inference_mode():
                logits = model.network.classifier(torch.from_numpy(embedding).float())
            np.testing.assert_allclose(logits.softmax(0), values, rtol=1e-2)
    assert found["words_fold_0"].values[0].tolist() != found["words_fold_1"].values[0].tolist()
    assert teacher([])["words_fold_0"].values.shape == (0, 4)


def test_it_goes_without_embedding_and_long_texts_are_cut(pattern):
    teacher = load(pattern.replace("*", "0"), embedding=False)
    (target,) = teacher.targets
    assert (target.name, target.embedding_size) == ("words", 0)
    answer = teacher(["leave me " * 1000])["words"]
    assert answer.embedding is None
    np.testing.assert_allclose(answer.values.sum(), 1, rtol=1e-5)


def test_positions_that_begin_behind_the_padding_are_not_run_out_of():
    """RoBERTa's 514 positions are of 512 tokens, and its tokenizer may not say so."""
    config = RobertaConfig(vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=1)
    config.intermediate_size, config.max_position_embeddings = 8, 34
    network = RobertaForSequenceClassification(config).eval()
    letters = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2}, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>")
    inputs = tokens(network, tokenizer, ["a " * 100])
    assert inputs["input_ids"].shape == (1, 32)
    network(inputs["input_ids"], inputs["attention_mask"])


def test_what_is_no_classifier_of_texts_is_refused(pattern, tmp_path):
    folder = pattern.replace("*", "0")
    with pytest.raises(UserError, match="has the labels neutral"):
        load(folder, labels=["a", "b", "c", "d"])
    with pytest.raises(UserError, match="batch_size is 0: give 1 or more"):
        load(folder, batch_size=0)
    model = BertForSequenceClassification.from_pretrained(folder)
    BertForMaskedLM(model.config).save_pretrained(tmp_path / "pretrained")
    with pytest.raises(UserError, match=r"lacks weights of the classifier.*finetune_words_teacher"):
        load(str(tmp_path / "pretrained"))
    model.config.problem_type = "multi_label_classification"
    model.save_pretrained(tmp_path / "several")
    with pytest.raises(UserError, match="several labels at once"):
        load(str(tmp_path / "several"))
    model.config.problem_type = None
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="Can't read the tokenizer"):
        load(str(tmp_path / "bare"))
