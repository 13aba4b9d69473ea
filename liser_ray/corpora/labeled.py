"""Labeled sets of emotional speech: published corpora, and what a manifest lists.

To add a corpus: write a file beside `ravdess` with a `Corpus` (names of its labels and files, some 40 lines), and give
it a place in `CORPORA`. Its name then works wherever a labeled set is asked for.
"""

import math
import os
import posixpath
import re
from collections import Counter
from collections.abc import Sequence

from liser_ray.corpora import cremad, emodb, iemocap, mspface, ravdess, savee, tess
from liser_ray.corpora.manifest import TEXT, Manifest, Row, is_manifest
from liser_ray.corpora.utterance import Corpus, LabeledSet, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_s3
from liser_ray.storage.listing import walk

CORPORA = {one.CORPUS.name: one.CORPUS for one in (ravdess, cremad, iemocap, emodb, savee, tess)}
CORPORA |= {iemocap.BY_SESSION: iemocap.SESSIONS}
"""By what stands before the colon where a user names the set."""

# fmt: off
SOUND_SUFFIXES = (
    ".wav", ".flac",  # without loss: a recording that is there several times is taken in the earliest of these
    ".aif", ".aiff", ".au", ".caf", ".w64", ".m4a", ".mp3", ".aac", ".ogg", ".oga", ".opus", ".wma", ".webm", ".mka",
    ".mp4", ".mov", ".mkv", ".avi", ".flv",
)
# fmt: on
"""Files of a corpus folder that are taken for recordings; a manifest's may have any suffix."""

FORMS = f"{', '.join(f'{name}:<folder or s3://…>' for name in CORPORA)}, or a manifest (.csv or .parquet)"
"""How a labeled set may be given, for errors."""

_VOTES = "votes."
"""What the names of the columns begin with that count the raters of each label."""

_COLUMNS = "Needed are path, label and speaker; start, end, fold, sex, text and votes.LABEL of each label may be given."
_SEXES = {"man": "man", "male": "man", "m": "man", "woman": "woman", "female": "woman", "f": "woman", "": ""}
_PREFIX = re.compile(r"([A-Za-z][\w-]*):(?!//)")
_MAY_BE_EMPTY = ("sex", TEXT)
_FOLD = re.compile(r"(\d+)(\.0*)?")  # tools write whole numbers as 3.0 where a column had gaps


def read_labeled_set(spec: str, without_files: bool = False, attributes: Sequence[str] = ()) -> LabeledSet:
    """List a labeled set; no recording is opened. A list need not name files if they are not asked for.

    Of a list its columns with the names of ``attributes`` are read as numbers, where it has them.

    It is named by a name of `CORPORA` and where it lies, as in ``ravdess:<folder>``: a local folder or an ``s3://``
    prefix in which the corpus lies as it was published, in any depth and any format of sound. Or by a manifest: a
    ``.csv`` or ``.parquet`` file with the columns ``path`` (relative to its folder, absolute, or ``s3://``), ``label``,
    ``speaker`` and optionally ``start`` and ``end`` (of a segment of the file, see `liser_ray.corpora.manifest`),
    ``fold``, ``sex`` (man, male, m, woman, female, f, or nothing), ``text`` (what is said) and ``votes.LABEL`` of some
    labels (how many raters chose it, or which share of them; nothing is 0); others are ignored, and blanks around
    values.

    Raises:
        UserError: if the name is unknown, nothing is there, no recording is found, the manifest is faulty, or there
            are fewer than two labels or two speakers.
    """
    prefix = _PREFIX.match(spec)
    if prefix is None:
        labeled = _read_manifest(absolute(spec), without_files, attributes)
    elif prefix[1].lower() not in CORPORA:
        raise UserError(f"{spec}: there is no labeled set {prefix[1]!r}. Give {FORMS}.")
    elif prefix.end() == len(spec):
        raise UserError(f"{spec} names no folder. Give {FORMS}.")
    else:
        labeled = _read_corpus(CORPORA[prefix[1].lower()], absolute(spec[prefix.end() :]))
    for what, found in (("label", {one.label for one in labeled.utterances}), ("speaker", set(labeled.speakers))):
        if len(found) < 2:
            raise UserError(
                f"{spec}: all {len(labeled.utterances)} recordings have the same {what}, {found.pop()!r}. "
                f"At least two {what}s are needed to train and to test."
            )
    return labeled


def input_address(spec: str) -> str:
    """The absolute address of an input: of a published set or list name and folder, as in ``ravdess:/data/RAVDESS``."""
    prefix = _PREFIX.match(spec)
    if prefix and prefix[1].lower() in {*CORPORA, mspface.NAME}:
        return f"{prefix[1].lower()}:{absolute(spec[prefix.end() :])}"
    return absolute(spec)


def input_folder(spec: str) -> str:
    """Where an input lies: of a published set or list the folder alone."""
    prefix = _PREFIX.match(address := input_address(spec))
    return address[prefix.end() :] if prefix else address


def _read_corpus(corpus: Corpus, root: str) -> LabeledSet:
    if not is_s3(root) and os.path.isfile(root):
        raise UserError(f"{root} is a file. Unpack it and give the folder in which the corpus lies.")
    uris = sorted(found.uri for found in walk(root)) if is_s3(root) or os.path.exists(root) else []
    if not uris and (is_s3(root) or not os.path.exists(root)):
        raise UserError(f"{root}: nothing there. Give the folder or prefix in which the corpus lies.")
    skipped: Counter[str] = Counter()
    parse = corpus.parser(uris)
    candidates: list[tuple[str, int, Utterance]] = []
    best: dict[str, int] = {}  # name of a recording to the place of its best suffix
    for uri in uris:
        path, suffix = posixpath.splitext(uri.removeprefix(root).lstrip("/"))
        facts = parse(path) if suffix.lower() in SOUND_SUFFIXES else "other files"
        if isinstance(facts, str):
            skipped[facts] += 1
            continue
        name, rank = posixpath.basename(path), SOUND_SUFFIXES.index(suffix.lower())
        candidates.append((name, rank, Utterance(uri, **facts._asdict())))
        best[name] = min(rank, best.get(name, rank))
    if not candidates:
        met = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "an empty folder"
        raise UserError(f"{root}: no {corpus.title} recording found, but {met}. Names look like {corpus.example}.")
    for name, rank, _ in candidates:
        if rank != best[name]:
            skipped[f"copies in {SOUND_SUFFIXES[rank]} of recordings taken in {SOUND_SUFFIXES[best[name]]}"] += 1
    taken = tuple(one for name, rank, one in candidates if rank == best[name])
    return LabeledSet(corpus.name, corpus.labels, taken, dict(skipped))


def _read_manifest(uri: str, without_files: bool, attributes: Sequence[str]) -> LabeledSet:
    if not is_manifest(uri):
        raise UserError(f"{uri} is no labeled set. Give {FORMS}.")
    optional = ("fold", "sex", TEXT, f"{_VOTES}*", *attributes)
    manifest = Manifest(uri, ("label", "speaker"), optional, "path", hint=_COLUMNS, without_files=without_files)
    utterances = []
    of_speaker: dict[str, Utterance] = {}  # the first of each, with a sex where one is known
    spelled: dict[str, str] = {}  # labels by their lower case
    for row in manifest.rows(as_text=True):
        values = dict(zip(manifest.schema.names, map(str.strip, row.values), strict=True))
        one = _utterance(row, values, attributes, f"The manifest {uri}: row {row.number}")
        utterances.append(one)
        if one.label != (other := spelled.setdefault(one.label.lower(), one.label)):
            both = " and ".join(map(repr, sorted((other, one.label))))
            raise UserError(f"The manifest {uri} has the labels {both}. Write them the same way.")
        first = of_speaker.setdefault(one.speaker, one)
        if one.fold != first.fold:
            raise UserError(
                f"The manifest {uri}: speaker {one.speaker} is in the folds {first.fold} and {one.fold}. "
                "Put all recordings of a speaker into one fold, or speakers would be tested that were trained on."
            )
        if one.sex and first.sex and one.sex != first.sex:
            raise UserError(
                f"The manifest {uri}: speaker {one.speaker} is a man in one row and a woman in another. "
                "Write the same in all rows, and give two speakers two names."
            )
        if one.sex:
            of_speaker[one.speaker] = one
    labels = tuple(sorted(spelled.values()))
    for column in manifest.schema.names:
        if column.startswith(_VOTES) and column.removeprefix(_VOTES) not in labels:
            raise UserError(
                f"The manifest {uri} has the column {column}, and no recording has that label. There are "
                f"{', '.join(labels)}: name the column after one of them, or leave it out."
            )
    name = posixpath.splitext(posixpath.basename(uri))[0]
    # The order of the rows must not matter to what is trained: sets are compared over copies of a manifest.
    order = sorted(
        utterances,
        key=lambda one: (
            *(one.uri, one.segment.start_s, str(one), one.label, one.speaker, one.text, one.votes),
            one.attributes,
        ),
    )
    return LabeledSet(name, labels, tuple(order), {})


def _utterance(row: Row, values: dict[str, str], attributes: Sequence[str], where: str) -> Utterance:
    """The recording in a row with these values; `where` begins what is said of a fault."""
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
        values["label"],
        values["speaker"],
        int(found[1]) if found else None,
        _SEXES[sex.lower()],
        row.segment,
        values.get(TEXT, ""),
        _votes(values, where),
        tuple((name, _known(values[name], f"{where} has {name}")) for name in attributes if values.get(name)),
    )


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
