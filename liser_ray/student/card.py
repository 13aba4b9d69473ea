"""What a student says of itself: its labels, how it listens, whom it was trained on, how well it does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np

from liser_ray.results.metrics import recalls, uar, war
from liser_ray.results.set_names import identity
from liser_ray.runtime.errors import UserError
from liser_ray.student.chunks import reach_frames
from liser_ray.student.config import OF_RECORDING, NetworkConfig, Normalisation, Pooling
from liser_ray.student.front_end import FRAME_SAMPLES, N_BANDS, SAMPLE_RATE_HZ, SEGMENT_S, STRIDE_SAMPLES
from liser_ray.teachers.targets import TunedOn, with_teachers

CARD_FILE = "student.json"
WEIGHTS_FILE = "student.safetensors"
FORMAT = 1
FRONT_END = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "bands": N_BANDS,
    "window_samples": FRAME_SAMPLES,
    "stride_samples": STRIDE_SAMPLES,
    "segment_s": SEGMENT_S,
}


@dataclass(frozen=True)
class StudentCard:
    """The card that lies beside a student's weights, and in its ONNX file.

    Attributes:
        labels: of its answers, in their order.
        network: variants of its network; dropout is of training alone.
        content: all that training wrote down: set, fold, seed, speakers, counts, test confusions, recipe, hashes.
    """

    labels: tuple[str, ...]
    network: NetworkConfig
    content: dict[str, Any]

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> "StudentCard":
        """The card in the text of a ``student.json``; ``where`` names it in errors.

        Raises:
            UserError: it is none, or of a student that this version can't run.
        """
        try:
            content = json.loads(text)
            version, front_end = content["format"], content["front_end"]
            labels = tuple(content["labels"])
            unknown = sorted(content["network"].keys() - {one.name for one in fields(NetworkConfig)})
            network = _network({name: value for name, value in content["network"].items() if name not in unknown})
        except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
            raise UserError(
                f"{where} is no card of a student ({error!r}). Give the folder of a trained one."
            ) from error
        if version != FORMAT or front_end != FRONT_END:
            raise UserError(
                f"{where} is of a student of format {version} that listens with {front_end}; this version of liser_ray "
                f"runs format {FORMAT} with {FRONT_END}. Use the version that it was trained with."
            )
        if unknown:
            raise UserError(
                f"{where} is of a student whose network has {', '.join(unknown)}, which this version of liser_ray does "
                "not know. Use the version that it was trained with, or a newer one."
            )
        if len(labels) < (1 if content.get("attributes") else 2) or not all(isinstance(label, str) for label in labels):
            raise UserError(f"{where} has no labels: {labels}.")
        return cls(labels, network, content)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Of the numbers that it gives beside the labels, such as arousal, in their order."""
        return tuple(self.content.get("attributes", ()))

    @property
    def temperature(self) -> float:
        """Of its softmaxes, at which it is as sure as it is right on speakers who did not train it."""
        return float(self.content.get("temperature", 1.0))

    @property
    def tuned_on(self) -> TunedOn | None:
        """The speakers who chose its weights or its epoch, or those of its teachers; None if one does not say."""
        if not (speakers := self.content.get("speakers")):
            return None
        heard = tuple(sorted({*speakers["train"], *speakers["validation"]}))
        fraction = self.content.get("facts", {}).get("recipe", {}).get("train", {}).get("labeled_fraction", 1.0)
        own = TunedOn(self.content["labeled"], self.content["fold"], heard, fraction)
        return with_teachers(own, self.content.get("teachers", {}))

    @property
    def of_all_speakers(self) -> bool:
        """Whether it has learned from all speakers of its set, so that nobody is left to score it on."""
        speakers = self.content.get("speakers")
        return speakers is not None and not speakers["validation"] and not speakers["test"]

    @property
    def of_recording(self) -> bool:
        """Whether it has to know the whole recording before it hears the first window."""
        return self.network.normalisation in OF_RECORDING


def _network(written: dict[str, Any]) -> NetworkConfig:
    """Of a card, which may come from elsewhere; what an older one does not have is as in the paper."""
    values = {"filters": NetworkConfig.filters, **written}
    network = NetworkConfig(**values | {"filters": tuple(values["filters"])})
    numbers = (*network.filters, network.hidden_size, network.chunks, network.bidirectional)
    kinds = [type(value) for value in numbers]
    known = network.pooling in get_args(Pooling) and network.normalisation in get_args(Normalisation)
    if not known or kinds != [int, int, int, int, int, bool]:
        raise ValueError(f"network {written}")
    return network


def model_card(card: StudentCard, name: str) -> str:
    """The README of a published student, as the Hugging Face hub shows it; ``name`` is its repository or folder."""
    content = card.content
    speakers = content.get("speakers", {})
    scores = "It names no label; how well its numbers agree is said above."
    if len(card.labels) > 1:
        scores = "\n\n".join(_scores(card)) or "It was scored on no speakers."
    fold = "all speakers" if card.of_all_speakers else f"fold {content.get('fold', '?')}"
    unsaid = dict.fromkeys(content.get("trusted", ()), " (does not say whom it has heard)")
    teachers = [f"{one['name']}{unsaid.get(name, '')}" for name, one in content.get("teachers", {}).items()]
    heard_s = reach_frames(card.network.chunks) * STRIDE_SAMPLES / SAMPLE_RATE_HZ
    return f"""---
library_name: liser-ray
pipeline_tag: audio-classification
tags:
- speech-emotion-recognition
- audio-classification
- liser
---

# {name}

A student of LiSER (Pendyala, Morgado, Sethares, [Interspeech 2025](https://arxiv.org/abs/2507.00055)): a network of
{content.get("parameters", {}).get("inference", 0):,} parameters that hears {heard_s:.0f} s of speech and gives
{_answers(card)}.

## Use

```python
from liser_ray import Student

student = Student.from_pretrained("{name}")
prediction = student.predict(waveform, sample_rate_hz=16_000)  # float32 [samples], -1..1
prediction.label, prediction.probability
```

or `liser-ray predict --model {name} speech.wav --timeline`.

## Training

* Recipe `{content.get("recipe", "?")}`, {fold}, seed {content.get("seed", "?")}, on
  {content.get("n_recordings", {}).get("train", 0):,} labeled recordings of {content.get("labeled", "?")} and
  {content.get("n_recordings", {}).get("unlabeled", 0):,} spans that teachers labeled.
{"".join(_set_line(name, facts) for name, facts in content.get("sets", {}).items())}\
* Training speakers: {_names(speakers.get("train"))}.
* Validation speakers: {_names(speakers.get("validation"))}. Test speakers: {_names(speakers.get("test"))}.
* Teachers: {_names(teachers)}.
* Network: pooling {card.network.pooling}, normalisation {card.network.normalisation}. All settings, data hashes
  and versions are in `student.json`.

## Scores

{scores}

## Limits

The labels are what listeners or actors called an emotion in the training recordings. They are not what a person feels,
and on other voices, languages, rooms and microphones the scores above do not hold. Do not decide about people by them.
Emotion recognition at work and in schools is forbidden in the European Union (AI Act, article 5), and elsewhere it may
need consent. The terms of the training recordings apply to what is made from them.
"""


def _scores(card: StudentCard) -> Iterator[str]:
    """What is known of how well it does, on each labeled set that it has learned from, in words."""
    content, joined = card.content, len(card.content.get("sets", {})) > 1
    found = {"": content["cross_validated"]} if "cross_validated" in content else content.get("cross_validated_on", {})
    for name, scores in found.items():
        ends, over = scores["uar_interval"], scores["interval_over"]
        reach = f" [{ends[0]:.3f}, {ends[1]:.3f}] (95 % interval over {over})" if ends else ""
        yield (
            "It has learned from all speakers, so that nobody is left to score it on. Students of its recipe, each "
            f"on speakers {f'of {name} ' if name else ''}whom it has not heard ({scores['speakers']} speakers, "
            f"{scores['seeds']} seeds), have UAR {scores['uar']:.3f}{reach} and WAR {scores['war']:.3f}."
        )
    of_sets: dict[str, list[np.ndarray]] = {}
    for speaker, counts in content.get("confusions", {}).items():
        of_sets.setdefault(identity(content.get("labeled", ""), speaker)[0], []).append(np.array(counts))
    for name, confusions in of_sets.items():
        confusion = np.sum(confusions, axis=0)
        shares = [f"{share:.3f}" if np.isfinite(share) else "-" for share in recalls(confusion)]
        yield (
            f"On {confusion.sum():,} recordings of {len(confusions)} test speakers{f' of {name}' * joined}, whom "
            f"neither the student nor its teachers have heard: UAR {uar(confusion):.3f}, WAR {war(confusion):.3f}. "
            f"Recalls:\n\n| {' | '.join(card.labels)} |\n|{' --- |' * len(card.labels)}\n| {' | '.join(shares)} |"
        )


def _answers(card: StudentCard) -> str:
    """Its labels and attributes, and how well these agree with those of the test speakers."""
    labels = f"a probability to each of {len(card.labels)} labels: {', '.join(card.labels)}"
    of_folds, known = card.content.get("cross_validated", {}).get("ccc", {}), []
    for name, facts in card.content.get("attributes", {}).items():
        if facts["test_ccc"] is not None:
            name += f" (CCC {facts['test_ccc']:.3f} on test speakers)"
        elif name in of_folds:
            name += f" (CCC {of_folds[name]:.3f} of its recipe's students on speakers whom they have not heard)"
        known.append(name)
    numbers = f"numbers for {', '.join(known)}"
    return "; and ".join([*([labels] if len(card.labels) > 1 else ()), *([numbers] if known else ())])


def _set_line(name: str, facts: dict[str, Any]) -> str:
    """Of one of several labeled sets how much was learned from, and its labels."""
    labels = [own if own == whole else f"{own} ({whole})" for own, whole in facts["labels"].items()]
    return f"* Of {name} {facts['recordings']:,} recordings with the labels {', '.join(labels)}.\n"


def _names(names: list[str] | None) -> str:
    return ", ".join(names) if names else "none"
