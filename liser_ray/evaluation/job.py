"""An evaluation from its settings to scores by condition."""

import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from liser_ray.corpora.labeled import FORMS, list_labeled_set, refuse_joint
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.corpora.utterance import UNLABELED
from liser_ray.evaluation.classifiers import Classifier, load_classifiers
from liser_ray.evaluation.conditions import chosen_conditions, heard_as
from liser_ray.evaluation.config import EvaluationConfig
from liser_ray.evaluation.labels import CommonLabels, common_labels
from liser_ray.evaluation.report import markdown, plot
from liser_ray.media.waveform import WaveformError
from liser_ray.results.metrics import (
    brier_score,
    concordance_by_speaker,
    expected_calibration_error,
)
from liser_ray.results.records import FoldResult, Record, confusions_by_speaker, mean_concordances, record_to_json
from liser_ray.results.scores import by_sex, interval, label_recalls, pooled, speaker_scores
from liser_ray.results.set_names import identity, set_names
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, write_bytes
from liser_ray.teachers.temperature import with_temperature
from liser_ray.training.facts import git_commit

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of it.

    Attributes:
        records: by condition, one for each seed or classifier.
        content: of evaluation.json.
    """

    records: dict[str, tuple[Record, ...]]
    content: dict[str, Any]


class _Answers:
    """What a classifier says of the recordings that it is asked about, in one condition."""

    def __init__(self) -> None:
        self.probabilities: list[np.ndarray] = []
        self.attributes: list[np.ndarray] = []
        self.recordings: list[int] = []
        self.n_unheard = 0


def evaluate(config: EvaluationConfig) -> Evaluation:
    """Ask classifiers about every recording in every condition; write scores, a table and a plot.

    Raises:
        UserError: an option, the classifier or the set; or they have no speaker or fewer than two labels in common.
    """
    if not config.labeled:
        raise UserError(f"No labeled speech: give --labeled {FORMS}.")
    names, output = chosen_conditions(config.conditions), absolute(config.output)
    classifiers = load_classifiers(config.model, config.step_s, config.trust_remote_code)
    attributes = dict.fromkeys(name for one in classifiers for name in one.attributes)
    labeled = list_labeled_set(config.labeled, attributes=tuple(attributes))
    refuse_joint(labeled)
    if len({one.speaker for one in labeled.utterances}) < 2 and (
        of_others := [one for one in names if "babble" in one]
    ):
        names = tuple(one for one in names if one not in of_others)
        if not names:
            raise UserError(f"{of_others[0]} is of others who talk, and {labeled.name} has one speaker: give another.")
        log.warning("%s has one speaker: %s, of others who talk, is left out.", labeled.name, " and ".join(of_others))
    if attributes and min(len(classifiers[0].labels), len(labeled.labels)) < 2:  # numbers alone are compared
        if not any(one.attributes for one in labeled.utterances):
            raise UserError(f"{labeled.name} has none of {', '.join(attributes)}: give a list with such a column.")
        utterances = tuple(replace(one, label=UNLABELED, votes=()) for one in labeled.utterances)
        labeled = replace(labeled, labels=(UNLABELED,), utterances=utterances)
        labels = CommonLabels((UNLABELED,), np.zeros(1, int), np.zeros(1, int), (), (), ())
    else:
        labels = common_labels(classifiers[0].labels, labeled.labels, config.label_map)
    if len({one.labels for one in classifiers}) > 1:
        raise UserError(f"{config.model} has classifiers of other labels than one another: evaluate them one by one.")
    check_writable(output)
    speech = load_labeled_speech(labeled)
    pairs = [(one, _asked(one, speech, labels, config)) for one in classifiers]
    if not (pairs := [(one, numbers) for one, numbers in pairs if len(numbers)]):  # those of all speakers are left out
        raise UserError(
            f"{config.model} has no {config.speakers} speakers in {speech.name}. Give --speakers all to score it on "
            "those whom it has heard as well."
        )
    classifiers, asked = [one for one, _ in pairs], [numbers for _, numbers in pairs]
    _refuse_uneven(config.model, classifiers, [{speech.speakers[k] for k in numbers} for numbers in asked])
    found = {name: _ask(name, classifiers, asked, speech, labels, config.seed) for name in _shown(names)}
    records = {name: _records(classifiers, answers, speech, labels) for name, answers in found.items()}
    conditions = {name: _scores(records[name], classifiers, found[name], speech, labels) for name in names}
    content = {
        "settings": asdict(config),
        "classifiers": [
            {"name": one.name, "recipe": one.recipe, "seed": one.seed, "fold": one.fold} for one in classifiers
        ],
        "labeled": {
            "name": speech.name,
            "recordings": len(set(np.concatenate(asked).tolist())),
            "skipped": speech.skipped,
        },
        "labels": {
            **labels._asdict(),
            "of_set": labels.of_set.tolist(),
            "of_classifier": labels.of_classifier.tolist(),
        },
        "git_commit": git_commit(),
        "conditions": conditions,
    }
    for name, of in records.items():
        for record in of:
            file = f"{name}/{record.labeled}-{record.recipe}-{record.seed}.json"
            write_bytes(join(output, "records", file), record_to_json(record).encode())
    write_bytes(join(output, "evaluation.json"), json.dumps(content, indent=1).encode() + b"\n")
    write_bytes(join(output, "evaluation.md"), markdown(content).encode())
    if len(labels.names) > 1:
        write_bytes(join(output, "evaluation.png"), plot(content))
    return Evaluation(records, content)


def _shown(names: Sequence[str]) -> Iterator[str]:
    """The conditions, one after the other, with progress."""
    with Counting("conditions", len(names)) as counting:
        for name in names:
            yield name
            counting.advance()


def _asked(one: Classifier, speech: LabeledSpeech, labels: CommonLabels, config: EvaluationConfig) -> np.ndarray:
    """The recordings that a classifier is asked about, int64 [n]."""
    usable = np.flatnonzero(np.isin(speech.label_index, labels.of_set))
    if config.speakers == "all":
        return usable
    if speech.name not in set_names(one.labeled) or not one.speakers:
        heard = {name for name in set(speech.speakers) if any(of.heard_of(speech.name, [name]) for of in one.heard)}
        return np.setdiff1d(usable, speech.of_speakers(heard))
    asked = [identity(one.labeled, name) for name in one.speakers.get(config.speakers, ())]
    return np.intersect1d(usable, speech.of_speakers([name for of_set, name in asked if of_set == speech.name]))


def _refuse_uneven(model: str, classifiers: Sequence[Classifier], speakers: Sequence[set[str]]) -> None:
    """Refuse classifiers that make no records to compare (see `_records`), before they are asked anything."""
    by_seed: dict[int, list[set[str]]] = {}
    for one, of in zip(classifiers, speakers, strict=True):
        by_seed.setdefault(one.seed, []).append(of)
    groups = [set().union(*of) for of in by_seed.values()]
    if sum(map(len, groups)) < sum(map(len, speakers)):
        groups = [*speakers]
    recipes = dict.fromkeys(one.recipe for one in classifiers)
    if len(recipes) > 1 or any(of != groups[0] for of in groups):
        raise UserError(
            f"{model} has students of {', '.join(recipes)} that are not all scored on the same speakers: train the "
            "folds that are missing, or evaluate them one by one."
        )


def _ask(
    name: str,
    classifiers: Sequence[Classifier],
    asked: Sequence[np.ndarray],
    speech: LabeledSpeech,
    labels: CommonLabels,
    seed: int,
) -> list[_Answers]:
    """The classifiers' answers in a condition; what they can't hear then (too soft) is left out, and counted.

    Raises:
        UserError: a classifier hears none of its recordings then.
    """
    answers = [_Answers() for _ in classifiers]
    waveforms = [speech.waveform(k) for k in range(len(speech))]
    sets = [set(one.tolist()) for one in asked]
    for number in sorted(set.union(*sets)):
        sound = heard_as(name, number, waveforms, speech.speakers, seed)
        for one, wanted, into in zip(classifiers, sets, answers, strict=True):
            if number in wanted:
                try:
                    probabilities, attributes = one.answer(sound)
                    probabilities = probabilities[labels.of_classifier]
                except WaveformError:
                    into.n_unheard += 1
                    continue
                into.probabilities.append(probabilities / probabilities.sum())
                into.attributes.append(attributes)
                into.recordings.append(number)
    if not all(one.recordings for one in answers):
        raise UserError(f"In the condition {name} no recording can be heard: leave it out of --conditions.")
    return answers


def _records(
    classifiers: Sequence[Classifier], answers: Sequence[_Answers], speech: LabeledSpeech, labels: CommonLabels
) -> tuple[Record, ...]:
    """A record for each seed if each speaker is asked about once there, else for each classifier."""
    results = [_fold_result(one, of, speech, labels) for one, of in zip(classifiers, answers, strict=True)]
    pairs = sorted(zip(classifiers, results, strict=True), key=lambda pair: pair[0].seed)
    groups = [[*group] for _, group in groupby(pairs, key=lambda pair: pair[0].seed)]
    if any(max(Counter(s for _, fold in group for s in fold.confusions).values()) > 1 for group in groups):
        groups = [[pair] for pair in pairs]
    seeds = [group[0][0].seed for group in groups]
    if len(set(seeds)) < len(seeds):
        seeds = list(range(len(groups)))
    return tuple(
        Record(
            recipe=group[0][0].recipe,
            labeled=speech.name,
            labels=labels.names,
            seed=seed,
            folds=tuple(fold for _, fold in group),
            sexes={
                name: sex for name, sex in speech.sexes.items() if any(name in fold.confusions for _, fold in group)
            },
            content={"classifiers": [one.name for one, _ in group]},
        )
        for seed, group in zip(seeds, groups, strict=True)
    )


def _fold_result(one: Classifier, answers: _Answers, speech: LabeledSpeech, labels: CommonLabels) -> FoldResult:
    truth, said = _truth(answers, speech, labels), np.argmax(answers.probabilities, axis=1)
    spoken_by = [speech.speakers[k] for k in answers.recordings]
    confusions = confusions_by_speaker(truth, said, spoken_by, len(labels.names))
    attributes = {
        name: concordance_by_speaker(speech.attributes[name][answers.recordings], values, spoken_by)
        for name, values in zip(one.attributes, np.transpose(answers.attributes), strict=True)
        if name in speech.attributes
    }
    return FoldResult(one.fold, 0, 0, None, confusions, attributes)


def _truth(answers: _Answers, speech: LabeledSpeech, labels: CommonLabels) -> np.ndarray:
    """Labels among the common ones, int64 [n]."""
    return np.searchsorted(labels.of_set, speech.label_index[answers.recordings])


def _scores(
    records: Sequence[Record],
    classifiers: Sequence[Classifier],
    answers: Sequence[_Answers],
    speech: LabeledSpeech,
    labels: CommonLabels,
) -> dict[str, Any]:
    """Scores for JSON; those of probabilities are means over all answers."""
    probabilities = np.concatenate([one.probabilities for one in answers])
    temperatures = zip(answers, classifiers, strict=True)
    unscaled = np.concatenate([with_temperature(np.array(a.probabilities), 1 / c.temperature) for a, c in temperatures])
    truth = np.concatenate([_truth(one, speech, labels) for one in answers])
    total = np.sum([confusion for record in records for confusion in record.confusions.values()], axis=0)
    found = interval(records, "uar")
    return {
        "unheard": sum(one.n_unheard for one in answers),
        "uar": found.value,
        "uar_interval": None if math.isnan(found.low) else [found.low, found.high],
        "interval_over": found.over,
        "war": pooled(records, "war"),
        "macro_f1": pooled(records, "macro_f1"),
        "recalls": {name: None if math.isnan(of) else of for name, of in label_recalls(records).items()},
        "ccc": {name: None if math.isnan(of) else of for name, of in mean_concordances(records).items()},
        "confusion": total.tolist(),
        "calibration_error": expected_calibration_error(probabilities, truth),
        "calibration_error_at_temperature_1": expected_calibration_error(unscaled, truth),
        "brier_score": brier_score(probabilities, truth),
        "sexes": {sex: pooled(part, "uar") for sex, part in by_sex(records).items()},
        "speakers": speaker_scores(records, "uar"),
    }
