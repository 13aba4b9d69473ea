"""Published sets that are known by the names of their files.

To add one: write a file beside `ravdess` with a `Corpus` (names of its labels and files, some 30 lines), and give it a
place in `CORPORA`.
"""

import os
import posixpath
from collections import Counter

from liser_ray.corpora import cremad, emodb, iemocap, ravdess, savee, tess
from liser_ray.corpora.manifest import is_manifest
from liser_ray.corpora.utterance import Corpus, LabeledSet, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3
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


class OtherSetError(UserError):
    """A folder does not hold the set, but another one or none; a set with a fault in it is a plain `UserError`."""


def files_below(root: str) -> list[str]:
    """Addresses of all files of a set that lies in a folder or prefix, in order; paths below it follow ``root``.

    Raises:
        UserError: nothing is there, or it is a file.
    """
    if not is_s3(root) and os.path.isfile(root):
        if is_manifest(root):
            raise UserError(f"{root} is a list, and needs no name of a set before it: --labeled {root}")
        raise UserError(f"{root} is a file. Unpack it and give the folder in which the corpus lies.")
    uris = sorted(found.uri for found in walk(root)) if is_s3(root) or os.path.exists(root) else []
    if not uris and (is_s3(root) or not os.path.exists(root)):
        raise UserError(f"{root}: nothing there. Give the folder or prefix in which the corpus lies.")
    return uris


def sound_of(root: str, uris: list[str]) -> list[tuple[str, str]]:
    """Those of the addresses that are recordings, each with its path below the root without suffix.

    A recording that is there with several suffixes comes once, with the earliest of `SOUND_SUFFIXES`.
    """
    best: dict[str, tuple[int, str]] = {}
    for uri in uris:
        path, suffix = posixpath.splitext(uri.removeprefix(root).lstrip("/"))
        if suffix.lower() in SOUND_SUFFIXES:
            best[path] = min(best.get(path, (len(SOUND_SUFFIXES), "")), (SOUND_SUFFIXES.index(suffix.lower()), uri))
    return [(path, uri) for path, (_, uri) in best.items()]


def read_corpus(corpus: Corpus, root: str) -> LabeledSet:
    """The recordings of a set that lies in a folder or prefix.

    Raises:
        OtherSetError: there are none.
        UserError: see `files_below`.
    """
    uris = files_below(root)
    skipped: Counter[str] = Counter()
    parse = corpus.parser(uris)
    candidates: list[tuple[tuple[str, str], int, Utterance]] = []
    best: dict[tuple[str, str], int] = {}  # speaker and name of a recording to the place of its best suffix
    for uri in uris:
        if posixpath.basename(uri) in corpus.lists:
            continue
        path, suffix = posixpath.splitext(uri.removeprefix(root).lstrip("/"))
        facts = parse(path) if suffix.lower() in SOUND_SUFFIXES else "other files"
        if isinstance(facts, str):
            skipped[facts] += 1
            continue
        name, rank = (facts.speaker, posixpath.basename(path)), SOUND_SUFFIXES.index(suffix.lower())
        candidates.append((name, rank, Utterance(uri, **facts._asdict())))
        best[name] = min(rank, best.get(name, rank))
    if not candidates:
        met = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "an empty folder"
        raise OtherSetError(f"{root}: no {corpus.title} recording found, but {met}. Names look like {corpus.example}.")
    for name, rank, _ in candidates:
        if rank != best[name]:
            skipped[f"copies in {SOUND_SUFFIXES[rank]} of recordings taken in {SOUND_SUFFIXES[best[name]]}"] += 1
    taken = tuple(one for name, rank, one in candidates if rank == best[name])
    return LabeledSet(corpus.name, corpus.labels, taken, dict(skipped))
