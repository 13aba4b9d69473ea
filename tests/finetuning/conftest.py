"""A small base model, and speech whose labels can be heard."""

from pathlib import Path

import pytest
from small_teachers import make_speech_base
from tones import make_tones

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech

SPEAKERS = tuple("abcdefgh")
FOLD = Fold(0, train=frozenset("abcdef"), validation=frozenset("g"), test=frozenset("h"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a HuBERT without a head."""
    return make_speech_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def speech() -> LabeledSpeech:
    """Two tones of each label by each of eight speakers, 0.5 to 1.2 s."""
    return make_tones(SPEAKERS)
