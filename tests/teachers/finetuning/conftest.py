"""A small base model, and speech whose labels can be heard."""

from pathlib import Path

import numpy as np
import pytest
from small_teachers import make_speech_base

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech

LABELS = ("low", "middle", "high")
SPEAKERS = tuple("abcdefgh")
FOLD = Fold(0, train=frozenset("abcdef"), validation=frozenset("g"), test=frozenset("h"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a HuBERT without a head."""
    return make_speech_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def speech() -> LabeledSpeech:
    """Two tones of each label by each of eight speakers, 0.5 to 1.2 s."""
    rng = np.random.default_rng(0)
    waveforms, truth, speakers = [], [], []
    for speaker in SPEAKERS:
        for label in [*range(len(LABELS))] * 2:
            time_s = np.arange(int(rng.uniform(0.5, 1.2) * 16_000)) / 16_000
            tone = np.sin(2 * np.pi * 200 * 4**label * rng.uniform(0.9, 1.1) * time_s)
            waveforms.append((8000 * tone + 300 * rng.standard_normal(len(tone))).astype(np.int16))
            truth.append(label)
            speakers.append(speaker)
    return LabeledSpeech(
        name="tones",
        labels=LABELS,
        pcm=np.concatenate(waveforms),
        ends=np.cumsum([len(one) for one in waveforms]),
        label_index=np.array(truth),
        speakers=tuple(speakers),
        sexes={},
        uris=tuple(f"{number}.wav" for number in range(len(truth))),
        skipped={},
        problems=(),
    )
