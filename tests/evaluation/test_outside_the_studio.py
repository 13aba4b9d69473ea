"""A student trained in silence as the recipe `robust` trains it knows what it knew there in other conditions too."""

import csv

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from liser_ray.evaluation.config import EvaluationConfig
from liser_ray.evaluation.job import evaluate
from liser_ray.student.config import NetworkConfig
from liser_ray.student.training.config import AugmentConfig, StudentConfig, TrainConfig
from liser_ray.student.training.job import train_students

RATES_HZ = {"slow": 1.0, "middle": 2.2, "fast": 4.5}
CONDITIONS = ("recorded", "trimmed", "middle1s", "louder20", "softer20", "noise10")


def voice(rate_hz: float, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of some colour that comes and goes so many times a second, between a second of silence, int16 [n]."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    carrier = lfilter([1], [1, -rng.uniform(0.3, 0.9)], rng.standard_normal(len(time_s)))
    envelope = (0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * rng.uniform(0.9, 1.1) * time_s + rng.uniform(0, 6))) ** 2
    return np.pad((2000 * carrier * envelope).astype(np.int16), 16_000)


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> str:
    """Half of each recording is a silence as no room has it."""
    folder = tmp_path_factory.mktemp("studio")
    rows = []
    for speaker in range(6):
        for number in range(12):
            rng = np.random.default_rng((speaker, number))
            label = [*RATES_HZ][number % 3]
            path = folder / f"{speaker}-{number}.wav"
            soundfile.write(path, voice(RATES_HZ[label], rng.uniform(1.5, 2.5), rng), 16_000)
            rows.append((path.name, label, f"speaker {speaker}", speaker % 2))
    with (folder / "studio.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker", "fold"), *rows])
    return str(folder / "studio.csv")


def test_it_knows_what_it_knew_without_the_silence_and_in_noise(studio, tmp_path):
    train = TrainConfig(
        epochs=30,
        batch_size=8,
        learning_rate=1e-2,
        keep="last",
        schedule="cosine",
        validate_every=30,
        augment=AugmentConfig(pieces=0.7, noise=0.5, babble=0.3),
    )
    network = NetworkConfig("attention", "speech", filters=(8, 8, 16), hidden_size=16)
    config = StudentConfig(
        labeled=studio, recipe="no-dstl", output=str(tmp_path), folds="0", seeds="7", network=network, train=train
    )
    train_students(config)
    found = evaluate(EvaluationConfig(config.output, studio, str(tmp_path), CONDITIONS, step_s=0.5)).content
    scores = {name: one["uar"] for name, one in found["conditions"].items()}
    print("seed 7", scores)
    assert scores["louder20"] == scores["softer20"] == scores["recorded"]
    assert min(scores.values()) >= 0.8
