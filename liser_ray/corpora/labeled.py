"""Labeled sets of emotional speech: published corpora, folders in a known format, and what a manifest lists.

To add a corpus whose files' names say enough: see `liser_ray.corpora.published`. One that has its own lists, or a
format of which there are many sets: a module beside `meld` with a function of a folder, and its place in `FORMATS`. Its
name then works wherever a labeled set is asked for.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from liser_ray.corpora import audformat_database, audiofolder, emobox, meld, mspface, msppodcast
from liser_ray.corpora.labeled_list import read_list
from liser_ray.corpora.manifest import is_manifest
from liser_ray.corpora.published import CORPORA, read_corpus
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.results.set_names import JOINT
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute

FORMATS: Mapping[str, Callable[[str, Sequence[str]], LabeledSet]] = {
    one.NAME: one.read for one in (msppodcast, meld, emobox, audformat_database, audiofolder)
}
"""Sets that say themselves what is in them, by what stands before the colon."""

SETS = (*CORPORA, *FORMATS)
"""All names that may stand before the colon."""

FORMS = f"{', '.join(f'{name}:<folder or s3://…>' for name in SETS)}, or a manifest (.csv or .parquet)"
"""How a labeled set may be given, for errors."""

_PREFIX = re.compile(r"([A-Za-z][\w-]*):(?!//)")


def read_labeled_set(spec: str, without_files: bool = False, attributes: Sequence[str] = ()) -> LabeledSet:
    """List a labeled set to train and to test on; see `list_labeled_set`.

    Raises:
        UserError: see there; or there are fewer than two speakers, or without attributes two labels.
    """
    labeled = list_labeled_set(spec, without_files, attributes)
    refuse_joint(labeled)
    has_attributes = any(one.attributes for one in labeled.utterances)
    for what, found in (("label", {one.label for one in labeled.utterances}), ("speaker", set(labeled.speakers))):
        if len(found) < 2 and not (what == "label" and has_attributes):
            raise UserError(
                f"{spec}: all {len(labeled.utterances)} recordings have the same {what}, {found.pop()!r}. "
                f"At least two {what}s are needed to train and to test."
            )
    return labeled


def refuse_joint(labeled: LabeledSet) -> None:
    """Refuse, with a `UserError`, a set that is called as if it were joined of several."""
    if JOINT in labeled.name:
        raise UserError(
            f"{labeled.name}: the name of one set can't have {JOINT!r} in it, which joins names. Rename it."
        )


def list_labeled_set(spec: str, without_files: bool = False, attributes: Sequence[str] = ()) -> LabeledSet:
    """List a labeled set; no recording is opened. A list need not name files if they are not asked for.

    Of a list its columns with the names of ``attributes`` are read as numbers, where it has them; so are those of a set
    that has any. A list with attributes need have no labels: all its recordings are then ``speech``.

    It is named by a name of `CORPORA` or `FORMATS` and where it lies, as in ``ravdess:<folder>``: a local folder or an
    ``s3://`` prefix in which the corpus lies as it was published, in any depth and any format of sound. Or by a
    manifest: a ``.csv``, ``.jsonl`` or ``.parquet`` file with the columns ``path`` (relative to its folder, absolute,
    or ``s3://``; ``uri`` goes before it), ``label``, ``speaker`` and optionally ``start`` and ``end`` (of a segment of
    the file, see `liser_ray.corpora.manifest`), ``fold``, ``sex`` (man, male, m, woman, female, f, or nothing),
    ``text`` (what is said) and ``votes.LABEL`` of some labels (how many raters chose it, or which share of them;
    nothing is 0); others are ignored, and blanks around values.

    Raises:
        UserError: if the name is unknown, nothing is there, no recording is found, or the manifest is faulty.
    """
    prefix = _PREFIX.match(spec)
    if prefix is None:
        if not is_manifest(uri := absolute(spec)):
            raise UserError(f"{uri} is no labeled set. Give {FORMS}. Of a folder, liser-ray corpora says which it is.")
        labeled = read_list(uri, without_files, attributes)
    elif (name := prefix[1].lower()) not in {*CORPORA, *FORMATS}:  # to which others may be added
        raise UserError(f"{spec}: there is no labeled set {prefix[1]!r}. Give {FORMS}.")
    elif prefix.end() == len(spec):
        raise UserError(f"{spec} names no folder. Give {FORMS}.")
    else:
        root = absolute(spec[prefix.end() :])
        labeled = read_corpus(CORPORA[name], root) if name in CORPORA else FORMATS[name](root, attributes)
    return labeled


def input_address(spec: str) -> str:
    """The absolute address of an input: of a published set or list name and folder, as in ``ravdess:/data/RAVDESS``."""
    prefix = _PREFIX.match(spec)
    if prefix and prefix[1].lower() in (*SETS, mspface.NAME):
        return f"{prefix[1].lower()}:{absolute(spec[prefix.end() :])}"
    return absolute(spec)


def input_folder(spec: str) -> str:
    """Where an input lies: of a published set or list the folder alone, in which its recordings are too."""
    prefix = _PREFIX.match(address := input_address(spec))
    folder = address[prefix.end() :] if prefix else address
    return emobox.own_folder(folder) if prefix and prefix[1] == emobox.NAME else folder
