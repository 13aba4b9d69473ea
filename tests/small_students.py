"""Students as training leaves them, with random weights: they tell one sound from another, if not rightly."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from tones import tone
from torch import nn

from liser_ray.student.card import CARD_FILE, FORMAT, FRONT_END, WEIGHTS_FILE
from liser_ray.student.config import NetworkConfig
from liser_ray.student.network import EmotionClassifier, count_parameters

ATTRIBUTES = {name: {"validation_ccc": 0.4, "test_ccc": 0.3, "test": {}} for name in ("arousal", "valence")}
"""Of the card of a student that gives these."""

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def make_classifier(config: NetworkConfig, seed: int = 0, n_outputs: tuple[int, int] = (8, 0)) -> EmotionClassifier:
    """A network in evaluation mode whose batch norms have seen something, and whose answers are not all alike."""
    torch.manual_seed(seed)
    classifier = EmotionClassifier(n_outputs[0], config, n_outputs[1])
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    if classifier.normalisation is not None:
        nn.init.uniform_(classifier.normalisation.mean, -8, -2)
        nn.init.uniform_(classifier.normalisation.std, 1, 3)
    classifier.head.weight.data *= 10
    return classifier.eval()


def write_student(folder: Path, config: NetworkConfig | None = None, seed: int = 0, **changes: Any) -> Path:
    """A student's folder as training writes it; ``changes`` are other fields of its card."""
    config = config or NetworkConfig()
    n_outputs = len(changes.get("labels", EMOTIONS)), len(changes.get("attributes", ()))
    classifier = make_classifier(config, seed, n_outputs)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in classifier.state_dict().items()}
    (folder / WEIGHTS_FILE).write_bytes(safetensors.torch.save(weights))
    card = {
        "format": FORMAT,
        "recipe": "no-dstl",
        "labeled": "ravdess",
        "labels": list(EMOTIONS),
        "fold": 0,
        "seed": seed,
        "speakers": {"train": ["1", "2"], "validation": ["3"], "test": ["4", "5"]},
        "n_recordings": {"train": 20, "validation": 8, "test": 16, "unlabeled": 0},
        "teachers": {},
        "trusted": [],
        "best_epoch": 2,
        "validation_uar": 0.5,
        "confusions": {speaker: torch.eye(8, dtype=torch.int64).tolist() for speaker in "45"},
        "history": [{"epoch": 1, "loss": 2.0}],
        "parameters": {"training": 105_143, "inference": count_parameters(classifier)},
        "front_end": FRONT_END,
        "network": asdict(config),
        "facts": {},
    }
    (folder / CARD_FILE).write_text(json.dumps(card | changes))
    return folder


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student as training writes it."""
    return write_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """low.wav (2 s), middle.flac (3.5 s) and deeper/high.wav (4 s)."""
    folder = tmp_path_factory.mktemp("speech")
    (folder / "deeper").mkdir()
    for name, label, duration_s in (("low.wav", 0, 2.0), ("middle.flac", 1, 3.5), ("deeper/high.wav", 2, 4.0)):
        soundfile.write(folder / name, tone(label, duration_s, np.random.default_rng(label)), 16_000)
    return folder
