"""Labeled sets of emotional speech: RAVDESS, CREMA-D, and what a manifest lists."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator

from liser_ray.corpora import cremad, manifest, ravdess
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage import s3
from liser_ray.storage.files import is_s3, join, normalise

__all__ = ["LabeledSet", "Utterance", "read_labeled_set"]

# fmt: off
SOUND_SUFFIXES = (
    ".wav", ".flac",  # without loss: a recording that is there several times is taken in the earliest of these
    ".aif", ".aiff", ".au", ".caf", ".w64", ".m4a", ".mp3", ".aac", ".ogg", ".oga", ".opus", ".wma", ".webm", ".mka",
    ".mp4", ".mov", ".mkv", ".avi", ".flv",
)
# fmt: on
"""Files of a corpus folder that are taken for recordings; a manifest's may have any suffix."""

_FORMS = "ravdess:<folder or s3://…>, cremad:<folder or s3://…>, or a manifest (.csv or .parquet)"


def read_labeled_set(spec: str) -> LabeledSet:
    """List a labeled set; no recording is opened.

    Args:
        spec: ``ravdess:<folder>``, ``cremad:<folder>``, with a local folder or an ``s3://`` prefix in which the corpus
            lies as it was published, in any depth and any format of sound; or a manifest, see
            `liser_ray.corpora.manifest.read_manifest`.

    Raises:
        UserError: if the prefix is unknown, nothing is there, no recording is found, the manifest is faulty, or there
            are fewer than two labels or two speakers.
    """
    prefix = re.match(r"([A-Za-z][\w-]*):(?!//)", spec)
    if prefix is None:
        labeled = _read_manifest(normalise(spec))
    elif prefix[1].lower() not in _CORPORA:
        raise UserError(f"{spec}: there is no labeled set {prefix[1]!r}. Give {_FORMS}.")
    elif prefix.end() == len(spec):
        raise UserError(f"{spec} names no folder. Give {_FORMS}.")
    else:
        labeled = _CORPORA[prefix[1].lower()](normalise(spec[prefix.end() :]))
    for what, found in (("label", {one.label for one in labeled.utterances}), ("speaker", set(labeled.speakers))):
        if len(found) < 2:
            raise UserError(
                f"{spec}: all {len(labeled.utterances)} recordings have the same {what}, {found.pop()!r}. "
                f"At least two {what}s are needed to train and to test."
            )
    return labeled


def _read_manifest(uri: str) -> LabeledSet:
    if posixpath.splitext(uri)[1].lower() not in manifest.SUFFIXES:
        raise UserError(f"{uri} is no labeled set. Give {_FORMS}.")
    return manifest.read_manifest(uri)


def _read_ravdess(root: str) -> LabeledSet:
    skipped: Counter[str] = Counter()
    utterances = [
        Utterance(uri, label, speaker, sex=ravdess.sex_of(speaker))
        for uri, (label, speaker) in _named_files(root, ravdess.parse_name, skipped)
    ]
    if not utterances:
        raise _nothing_found(root, "RAVDESS speech", "03-01-05-01-02-01-12.wav", skipped)
    return LabeledSet(ravdess.NAME, ravdess.LABELS, tuple(utterances), dict(skipped))


def _read_cremad(root: str) -> LabeledSet:
    skipped: Counter[str] = Counter()
    # The corpus is published as WAV, as MP3 and as video: of these, the earliest of `SOUND_SUFFIXES` is taken.
    best: dict[str, tuple[int, Utterance]] = {}
    for uri, named in _named_files(root, cremad.parse_name, skipped):
        stem, suffix = _split_name(uri)
        offered = SOUND_SUFFIXES.index(suffix), Utterance(uri, *named)
        kept = best.setdefault(stem, offered)
        if kept is not offered:
            best[stem], other = (offered, kept) if offered[0] < kept[0] else (kept, offered)
            skipped[f"copies in {SOUND_SUFFIXES[other[0]]} of recordings taken in {SOUND_SUFFIXES[best[stem][0]]}"] += 1
    if not best:
        raise _nothing_found(root, "CREMA-D", "1001_DFA_ANG_XX.wav", skipped)
    utterances = sorted((one for _, one in best.values()), key=lambda one: one.uri)
    return LabeledSet(cremad.NAME, cremad.LABELS, tuple(utterances), dict(skipped))


_CORPORA = {ravdess.NAME: _read_ravdess, cremad.NAME: _read_cremad}


def _named_files(
    root: str, parse_name: Callable[[str], tuple[str, str] | str], skipped: Counter[str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Address, label and speaker of each recording below a folder, by address; the other files are counted."""
    for uri in sorted(_walk_s3(root) if is_s3(root) else _walk_folder(root)):
        stem, suffix = _split_name(uri)
        named = parse_name(stem) if suffix in SOUND_SUFFIXES else "other files"
        if isinstance(named, str):
            skipped[named] += 1
        else:
            yield uri, named


def _split_name(uri: str) -> tuple[str, str]:
    stem, suffix = posixpath.splitext(posixpath.basename(uri))
    return stem, suffix.lower()


def _walk_s3(root: str) -> Iterator[str]:
    """Addresses of the objects below a prefix; those that hidden files became are left out."""
    bucket, prefix = s3.split(root)
    n_keys = 0
    for record in s3.list_objects(bucket, prefix + "/" if prefix else ""):
        n_keys += 1
        inner = record["Key"].removeprefix(prefix + "/")
        if not record["Key"].endswith("/") and not any(part.startswith(".") for part in inner.split("/")):
            yield f"s3://{bucket}/{record['Key']}"
    if not n_keys:
        raise UserError(f"{root}: nothing there. Check bucket and prefix; give the folder in which the corpus lies.")


def _walk_folder(root: str) -> Iterator[str]:
    """Paths of the files below a folder, hidden ones left out; links to folders are followed."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} can't be listed: {error.strerror}. Change its rights.") from error

    if not os.path.exists(root):
        raise UserError(f"{root}: nothing there. Give the folder in which the corpus lies.")
    if not os.path.isdir(root):
        raise UserError(f"{root} is a file. Unpack it and give the folder in which the corpus lies.")
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up, or a second way to the same files
            folders.clear()
            continue
        seen.add(real)
        # In order: which of two ways to a folder is seen first must not depend on the file system.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (join(folder, name) for name in names if not name.startswith("."))


def _nothing_found(root: str, what: str, example: str, skipped: Counter[str]) -> UserError:
    met = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "an empty folder"
    return UserError(f"{root}: no {what} recording found, but {met}. Their names look like {example}.")
