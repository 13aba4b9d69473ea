"""Lists of one's own with labels: a manifest whose columns say label and speaker of each recording."""

import math
import posixpath
import re
from collections.abc import Iterable, Sequence

from liser_ray.corpora.manifest import TEXT, Manifest, Row
from liser_ray.corpora.utterance import UNLABELED, LabeledSet, Utterance
from liser_ray.runtime.errors import UserError

_VOTES = "votes."
"""What the names of the columns begin with that count the raters of each label."""

NAMES = {
    "label": ("label", "emotion"),
    "speaker": ("speaker", "speaker_id"),
    "sex": ("sex", "gender"),
    TEXT: (TEXT, "transcription", "sentence"),
}
"""What lists say of a recording, and what the column may be called; the first of them that is there counts."""

NEEDED = (NAMES["label"], NAMES["speaker"])

_COLUMNS = (
    "Needed are path, label and speaker (of unknown ones the call, session or folder); start, end, fold, sex, text and "
    "votes.LABEL of each label may be given."
)
_SEXES = {"man": "man", "male": "man", "m": "man", "woman": "woman", "female": "woman", "f": "woman", "": ""}
_MAY_BE_EMPTY = ("sex", TEXT)
_FOLD = re.compile(r"(\d+)(\.0*)?")  # tools write whole numbers as 3.0 where a column had gaps


def read_list(uri: str, without_files: bool, attributes: Sequence[str]) -> LabeledSet:
    """The recordings that a manifest lists, see `liser_ray.corpora.labeled.read_labeled_set`.

    Raises:
        UserError: it is faulty.
    """
    optional = (*NAMES["label"], "fold", *NAMES["sex"], *NAMES[TEXT], f"{_VOTES}*", *attributes)
    needed = [NAMES["speaker"]] if attributes else NEEDED
    manifest = Manifest(uri, needed, optional, "path", hint=_COLUMNS, without_files=without_files)
    utterances = []
    for row in manifest.rows(as_text=True):
        values = values_of(row, manifest.schema.names)
        utterances.append(utterance(row, values, attributes, f"The manifest {uri}: row {row.number}"))
    found = set_of(posixpath.splitext(posixpath.basename(uri))[0], utterances, f"The manifest {uri}")
    for column in manifest.schema.names:
        if column.startswith(_VOTES) and column.removeprefix(_VOTES) not in found.labels:
            raise UserError(
                f"The manifest {uri} has the column {column}, and no recording has that label. There are "
                f"{', '.join(found.labels)}: name the column after one of them, or leave it out."
            )
    return found


def values_of(row: Row, columns: Sequence[str]) -> dict[str, str]:
    """What a row says in these columns, by the first of its `NAMES` or, of other columns, by their own."""
    given = dict(zip(columns, map(str.strip, row.values), strict=True))
    named = {what: next((given[name] for name in names if name in given), None) for what, names in NAMES.items()}
    others = {name: value for name, value in given.items() if not any(name in names for names in NAMES.values())}
    return {what: value for what, value in named.items() if value is not None} | others


def set_of(name: str, utterances: Iterable[Utterance], where: str, skipped: dict[str, int] | None = None) -> LabeledSet:
    """A set with the labels that its recordings have; ``where`` begins what is said of a fault.

    Raises:
        UserError: a label is spelled in two ways, or a speaker is in two folds or of two sexes.
    """
    utterances = list(utterances)
    of_speaker: dict[str, Utterance] = {}  # the first of each, with a sex where one is known
    spelled: dict[str, str] = {}  # labels by their lower case
    for one in utterances:
        if one.label != (other := spelled.setdefault(one.label.lower(), one.label)):
            both = " and ".join(map(repr, sorted((other, one.label))))
            raise UserError(f"{where} has the labels {both}. Write them the same way.")
        first = of_speaker.setdefault(one.speaker, one)
        if one.fold != first.fold:
            raise UserError(
                f"{where}: speaker {one.speaker} is in the folds {first.fold} and {one.fold}. "
                "Put all recordings of a speaker into one fold, or speakers would be tested that were trained on."
            )
        if one.sex and first.sex and one.sex != first.sex:
            raise UserError(
                f"{where}: speaker {one.speaker} is a man in one row and a woman in another. "
                "Write the same in all rows, and give two speakers two names."
            )
        if one.sex:
            of_speaker[one.speaker] = one
    # The order of the rows must not matter to what is trained: sets are compared over copies of a manifest.
    order = sorted(
        utterances,
        key=lambda one: (
            *(one.uri, one.segment.start_s, str(one), one.label, one.speaker, one.text, one.votes),
            one.attributes,
        ),
    )
    return LabeledSet(name, tuple(sorted(spelled.values())), tuple(order), skipped or {})


def utterance(row: Row, values: dict[str, str], attributes: Sequence[str], where: str) -> Utterance:
    """The recording in a row with these values; ``where`` begins what is said of a fault.

    Raises:
        UserError: a value is missing or none of its kind.
    """
    may_be_empty = {*_MAY_BE_EMPTY, *attributes}
    for name, value in values.items():
        if not value and name not in may_be_empty and not name.startswith(_VOTES):
            raise UserError(f"{where} has no {name}. Fill it in or take the row out.")
    fold, sex = values.get("fold"), values.get("sex", "")
    found = _FOLD.fullmatch(fold) if fold else None
    if fold and found is None:
        raise UserError(f"{where} has the fold {fold!r}. Folds are whole numbers, as 0, 1, 2.")
    if sex.lower() not in _SEXES:
        raise UserError(f"{where} has the sex {sex!r}. Write man or woman, or leave it empty where it is not known.")
    return Utterance(
        row.uri,
        values.get("label", UNLABELED),
        values["speaker"],
        int(found[1]) if found else None,
        sex_of(sex),
        row.segment,
        values.get(TEXT, ""),
        _votes(values, where),
        tuple((name, _known(values[name], f"{where} has {name}")) for name in attributes if values.get(name)),
    )


def sex_of(word: str) -> str:
    """ "man" or "woman", by any usual word for it; "" for every other."""
    return _SEXES.get(word.lower(), "")


def _votes(values: dict[str, str], where: str) -> tuple[tuple[str, float], ...]:
    """Raters for each label; none where nobody chose any."""
    found = []
    for name, value in values.items():
        if name.startswith(_VOTES):
            number = _number(value or "0")
            if number is None or number < 0:
                raise UserError(f"{where} has {name} {value!r}. Write how many raters chose that label, such as 3.")
            found.append((name.removeprefix(_VOTES), number))
    return tuple(found) if any(number for _, number in found) else ()


def _known(text: str, what: str) -> float:
    number = _number(text)
    if number is None:
        raise UserError(f"{what} {text!r}. Write a number, or leave it empty where it is not known.")
    return number


def _number(text: str) -> float | None:
    """None where it is none, or not finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
