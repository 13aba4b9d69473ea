"""What can be evaluated: students, and audio classifiers of Transformers."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.prediction.pieces import step_samples
from liser_ray.prediction.prediction import softmax
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch
from liser_ray.student.card import CARD_FILE
from liser_ray.teachers.known import address_of, check_known
from liser_ray.teachers.targets import TunedOn
from liser_ray.training.precision import able_precision

_HINT = (
    "Give a student's folder or .onnx file, a folder of students, or a speech teacher's or audio classifier's folder."
)


@dataclass(frozen=True)
class Classifier:
    """A classifier of recordings.

    Attributes:
        name: of its folder or file.
        recipe: that it was trained with, or its name.
        labels: K of them.
        answer: of a recording float32 [n], 16 kHz, the probabilities of the labels, float32 [K], sum 1, and the values
            of the attributes, float32 [A].
        attributes: A of them, numbers such as arousal.
        temperature: that is in the probabilities.
        labeled: name of the set that it was trained on; "" if it does not say.
        fold, seed: of the training.
        speakers: of that set, "train", "validation" and "test".
        heard: whom its teachers have heard, of those that say.
    """

    name: str
    recipe: str
    labels: tuple[str, ...]
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = field(repr=False)
    attributes: tuple[str, ...] = ()
    temperature: float = 1.0
    labeled: str = ""
    fold: int = 0
    seed: int = 0
    speakers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    heard: tuple[TunedOn, ...] = ()


def load_classifiers(model: str, step_s: float, trust_remote_code: bool = False) -> list[Classifier]:
    """The classifiers at a path, s3:// or hf:// address; of a folder of students, or of teachers, all of them.

    Students are asked about a 3-s window every ``step_s``. A name of weights that are known for speech teachers is an
    address too (`liser_ray.teachers.known`). Code that a classifier brings along runs only if it is trusted.

    Raises:
        UserError: there is none.
    """
    check_known(model := address_of("speech", model))
    path = fetch(model, _HINT)
    # What a hub has lies here in a folder that is called as its commit.
    name = posixpath.basename(model).partition("@")[0] if model.startswith("hf://") else path.name
    if path.is_file() or (path / CARD_FILE).is_file():
        return [_student(name, path, step_s)]
    if below := sorted(path.glob(f"*/{CARD_FILE}")):
        return [_student(card.parent.name, card.parent, step_s) for card in below]
    if (path / "config.json").is_file() or any(path.glob("*.safetensors")):
        return _audio_classifiers({name: str(path)}, trust_remote_code)
    if below := sorted(path.glob("*/bundle.json")):
        return _audio_classifiers({one.parent.name: str(one.parent) for one in below}, trust_remote_code)
    raise UserError(f"There is no classifier in {model}. {_HINT}")


def _student(name: str, path: Path, step_s: float) -> Classifier:
    step_samples(step_s)  # refuses one that is no multiple of the stride before a set is read
    student = Student.from_pretrained(path)
    card = student.card

    def answer(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prediction = student.predict(sound, SAMPLE_RATE_HZ, step_s)
        return prediction.probabilities, np.array([*prediction.attributes.values()], np.float32)

    return _classifier(name, card.content, student.labels, answer, card.attributes, card.temperature)


def _classifier(
    name: str,
    card: Mapping[str, Any],
    labels: tuple[str, ...],
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    attributes: tuple[str, ...] = (),
    temperature: float = 1.0,
) -> Classifier:
    """One of which a card, perhaps empty, tells; older cards of teachers tell of their base alone."""
    base = posixpath.basename(card.get("base", {}).get("name", ""))
    tuned = (one.get("tuned_on") for one in card.get("teachers", {}).values())
    return Classifier(
        name=name,
        recipe=str(card.get("recipe", base or name)),
        labels=labels,
        answer=answer,
        attributes=attributes,
        temperature=temperature,
        labeled=card.get("labeled", ""),
        fold=card.get("fold", 0),
        seed=card.get("seed", 0),
        speakers={part: tuple(names) for part, names in card.get("speakers", {}).items()},
        heard=tuple(TunedOn.from_json(one) for one in tuned if one),
    )


def _audio_classifiers(folders: dict[str, str], trust_remote_code: bool) -> list[Classifier]:
    import torch  # and Transformers: for those who evaluate one

    from liser_ray.finetuning.task import logits_of
    from liser_ray.teachers.speech_models import SpeechModel, load_models

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = able_precision(device, "auto")

    def asked(model: SpeechModel) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        def answer(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # Of int16's range but not clipped to it, as students hear what is louder.
            logits = logits_of(model.network, sound * 32768, model.prepare, device, precision)
            return softmax(logits), np.zeros(0, np.float32)

        return answer

    models = load_models(folders, device, trust_remote_code=trust_remote_code)
    return [_classifier(one.name, one.bundle.content if one.bundle else {}, one.labels, asked(one)) for one in models]
