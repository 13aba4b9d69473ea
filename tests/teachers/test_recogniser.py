"""A speech recogniser: what is said in each of some sounds."""

import numpy as np
import pytest
import torch
from small_teachers import make_recogniser

from liser_ray.corpora.speech import read_waveform
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.recogniser import load_recogniser

CPU = torch.device("cpu")


def noise(seconds, seed):
    return np.random.default_rng(seed).normal(0, 3000, round(seconds * 16_000)).astype(np.int16)


def test_whisper_writes_down_what_people_say(whisper, test_data):
    videos = ("grid_pwij3p.mpg", "grid_sbwe5n.mpg")
    heard = load_recogniser(str(whisper), CPU)(
        [read_waveform(str(test_data / "talking_heads" / one)) for one in videos]
    )
    for said, words in zip(heard, (("place", "white", "please"), ("set", "blue", "now")), strict=True):
        assert all(word in said.lower() for word in words), said


def test_what_is_longer_than_it_can_hear_at_once_is_heard_in_pieces(tmp_path):
    recogniser = load_recogniser(str(make_recogniser(tmp_path)), CPU)
    sound = noise(36, 0)
    pieces = recogniser([noise(1, 1), sound[: 18 * 16_000], sound[18 * 16_000 :]])
    assert recogniser([noise(1, 1), sound]) == [pieces[0], " ".join(pieces[1:])]
    assert all(pieces)
    assert recogniser([]) == []


def test_a_folder_that_lacks_a_part_says_which(tmp_path):
    make_recogniser(tmp_path)
    (tmp_path / "tokenizer.json").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="Can't read the tokenizer"):
        load_recogniser(str(tmp_path), CPU)
    (tmp_path / "elsewhere").rename(tmp_path / "tokenizer.json")
    (tmp_path / "model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="Can't load a speech recogniser"):
        load_recogniser(str(tmp_path), CPU)
    with pytest.raises(UserError, match="--transcribe hf://openai"):
        load_recogniser(str(tmp_path / "none"), CPU)
