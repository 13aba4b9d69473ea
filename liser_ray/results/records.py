"""The result of one recipe with one seed over the folds of a labeled set, as a JSON file.

What is kept are counts, not scores: any score can be computed from them later, with intervals over speakers.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from liser_ray.results.metrics import concordance, confusion_matrix
from liser_ray.results.set_names import set_names
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_s3
from liser_ray.storage.files import list_files, read_bytes

FORMAT = 1
RECORDS_FOLDER = "records"
"""Below a job's output."""
SEXES = ("man", "woman")

_NUMBERS = re.compile(r"\[\n([\d\s.,eE+-]+)\]")
_AGAIN = "Delete it and run that recipe and seed again."


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What a student said of the test speakers of its fold.

    Attributes:
        fold: its number.
        best_epoch: the epoch that was picked, from 1 on.
        epochs: how many were trained.
        validation_uar: of the picked epoch, 0..1; None in a fold without validation speakers.
        confusions: of each test speaker, counts int64 [K, K]: row the true label, column the predicted one.
        attributes: of each attribute, such as arousal, by test speaker what `concordance` needs to know, float64 [6].
    """

    fold: int
    best_epoch: int
    epochs: int
    validation_uar: float | None
    confusions: dict[str, np.ndarray]
    attributes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Record:
    """A recipe with one seed over the folds of a labeled set.

    Attributes:
        recipe: its name, such as "no-dstl" or "vid-sp-dstl+50%-labels".
        labeled: name of the labeled set.
        labels: K of them, in the order of the confusions' rows and columns.
        seed: of the training.
        folds: each speaker is tested in one of them.
        sexes: of each speaker, "man" or "woman", where it is known.
        content: everything else that is worth keeping, as JSON: settings, hashes and counts of the data, commit,
            versions of packages, and the machine. Its numbers are finite.

    Raises:
        UserError: if a speaker is tested in two folds, or a confusion does not fit the labels or counts nothing.
    """

    recipe: str
    labeled: str
    labels: tuple[str, ...]
    seed: int
    folds: tuple[FoldResult, ...]
    sexes: dict[str, str]
    content: dict[str, Any]

    def __post_init__(self) -> None:
        tested: dict[str, int] = {}
        shape = [len(self.labels)] * 2
        for fold in self.folds:
            for speaker, confusion in fold.confusions.items():
                where = f"{self}: speaker {speaker} of fold {fold.fold}"
                if speaker in tested:
                    raise UserError(f"{where} is tested in fold {tested[speaker]} as well. Test each speaker once.")
                tested[speaker] = fold.fold
                if list(confusion.shape) != shape or confusion.dtype != np.int64:
                    counts = f"{confusion.dtype} {list(confusion.shape)}"
                    raise UserError(f"{where} has counts {counts}, not int64 {shape} for {len(self.labels)} labels.")
                if confusion.min() < 0 or not confusion.any():
                    raise UserError(f"{where} has negative counts or none at all.")
        for speaker, sex in self.sexes.items():
            if sex not in SEXES:
                raise UserError(f"{self}: the sex of speaker {speaker} is {sex!r}, not man or woman.")

    def __str__(self) -> str:
        return f"{self.recipe} on {self.labeled} with seed {self.seed}"

    @property
    def confusions(self) -> dict[str, np.ndarray]:
        """Of every tested speaker, counts int64 [K, K]; speakers in natural order."""
        of = {speaker: counts for fold in self.folds for speaker, counts in fold.confusions.items()}
        return {speaker: of[speaker] for speaker in sorted_speakers(of)}

    @property
    def concordances(self) -> dict[str, float]:
        """CCC of each attribute over the recordings of all tested speakers, by name."""
        sums: dict[str, list[np.ndarray]] = {}
        for fold in self.folds:
            for name, of in fold.attributes.items():
                sums.setdefault(name, []).extend(of.values())
        return {name: concordance(np.sum(of, axis=0)) for name, of in sums.items() if of}


def mean_concordances(records: Sequence[Record]) -> dict[str, float]:
    """CCC of each attribute, by name: the mean over those records of a recipe whose speakers have it."""
    found = [record.concordances for record in records]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: float(np.mean([one[name] for one in found if name in one])) for name in names}


def is_taught_by_more(record: Record) -> bool:
    """Whether a teacher was tuned on a larger share of the record's set than its students learned from."""
    recipe = record.content.get("recipe", {})
    tuned = (one["tuned_on"] for of in recipe.get("data", {}).get("teachers", {}).values() for one in of.values())
    heard = [one for one in tuned if one and record.labeled in set_names(one["labeled"])]
    return any(one.get("labeled_fraction", 1.0) > recipe["train"]["labeled_fraction"] for one in heard)


def confusions_by_speaker(
    truth: np.ndarray, said: np.ndarray, speakers: Sequence[str], n_labels: int
) -> dict[str, np.ndarray]:
    """`confusion_matrix` of each speaker's recordings, of labels int [N]; speakers in natural order."""
    by = np.array(speakers)
    return {one: confusion_matrix(truth[by == one], said[by == one], n_labels) for one in sorted_speakers(speakers)}


def sorted_speakers(speakers: Iterable[str]) -> tuple[str, ...]:
    """Each speaker once, in natural order: "2" before "10"."""

    def natural(name: str) -> tuple[list[tuple[int, str]], str]:
        # "7" and "007" are equal up to here: the name itself decides.
        parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
        return parts, name

    return tuple(sorted(set(speakers), key=natural))


def record_to_json(record: Record) -> str:
    """The record as JSON to be read by people too: a matrix has one row per line.

    Raises:
        ValueError: if a number of its content is NaN or infinite, which JSON can't hold.
    """
    content = {"format": FORMAT} | asdict(record)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=np.ndarray.tolist)
    # Strings hold no line breaks in JSON, so only lists of numbers are met.
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def record_file(record: Record) -> str:
    """The file name of a record, such as ``ravdess-no-dstl-seed-0.json``."""
    return f"{record.labeled}-{record.recipe}-seed-{record.seed}.json"


def record_from_json(text: str, source: str) -> Record:
    """Read what `record_to_json` has written; ``source`` is named in errors.

    Raises:
        UserError: if it is no record, or one of another format.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{source} is no JSON: {error}. {_AGAIN}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{source} is no record of a run. Move it out of the folder of records.")
    if content["format"] != FORMAT:
        raise UserError(
            f"{source} has the format {content['format']}; this version reads {FORMAT}. Run that recipe and seed "
            "again, or use the version of liser-ray that wrote it."
        )
    try:
        return Record(
            recipe=_typed(content["recipe"], str),
            labeled=_typed(content["labeled"], str),
            labels=tuple(_typed(label, str) for label in _typed(content["labels"], list)),
            seed=_typed(content["seed"], int),
            folds=tuple(_fold(_typed(fold, dict)) for fold in _typed(content["folds"], list)),
            sexes=_typed(content["sexes"], dict),
            content=_typed(content["content"], dict),
        )
    except KeyError as error:
        raise UserError(f"{source} lacks {error}. {_AGAIN}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{source} is damaged: {error}. {_AGAIN}") from error
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def read_records(uri: str) -> list[Record]:
    """All records below a folder or an ``s3://`` prefix, by the names of their files (``.json``).

    Raises:
        UserError: if there are none, if a file is no record, or if two are of one recipe, set and seed.
    """
    try:
        paths = [info.path for info in list_files(uri, ".json")]
        texts = {path: read_bytes(f"s3://{path}" if is_s3(uri) else path) for path in paths}
    except OSError as error:
        raise UserError(f"{uri} can't be read: {error}. Give a folder or an s3:// prefix with records.") from error
    if not texts:
        raise UserError(f"{absolute(uri)}: no records (.json) there. Run some recipes first, or give another folder.")
    sources: dict[str, str] = {}
    records = []
    for path, data in texts.items():
        record = record_from_json(data.decode(errors="replace"), path)
        if str(record) in sources:
            raise UserError(f"{sources[str(record)]} and {path} are both {record}. Keep one: a seed counts once.")
        sources[str(record)] = path
        records.append(record)
    return records


def _fold(content: dict[str, Any]) -> FoldResult:
    uar = content["validation_uar"]
    return FoldResult(
        **{name: _typed(content[name], int) for name in ("fold", "best_epoch", "epochs")},
        validation_uar=None if uar is None else float(uar),
        confusions={speaker: np.array(rows) for speaker, rows in _typed(content["confusions"], dict).items()},
        attributes={
            name: {speaker: np.array(sums, np.float64) for speaker, sums in of.items()}
            for name, of in content.get("attributes", {}).items()  # which older records do not have
        },
    )


def _typed(value: Any, kind: type) -> Any:  # noqa: ANN401 (any JSON value)
    # By type, not isinstance: True is no number here.
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:40]} is no {kind.__name__}")
    return value
