"""What a labeled set is made of, recordings with one label and one speaker each, and what is known of a corpus."""

from collections.abc import Callable
from dataclasses import dataclass

from liser_ray.results.records import sorted_speakers as sorted_speakers


@dataclass(frozen=True)
class Utterance:
    """One labeled recording.

    Attributes:
        uri: absolute path or ``s3://bucket/key``.
        label: one of the set's labels.
        speaker: who speaks, by a name that is unique within the set.
        fold: in which fold the speaker is tested, where a manifest says so.
        sex: the speaker's, "man" or "woman"; "" where it is not known.
    """

    uri: str
    label: str
    speaker: str
    fold: int | None = None
    sex: str = ""


@dataclass(frozen=True)
class LabeledSet:
    """A labeled set as it is listed, before anything is decoded.

    Attributes:
        name: "ravdess", "cremad", or a manifest's stem.
        labels: in the order of the network's outputs.
        utterances: in an order that does not depend on how the files lie or the rows stand.
        skipped: how many files were passed over, by the reason in words ("songs", "videos", ...).
    """

    name: str
    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    skipped: dict[str, int]

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, in natural order: "2" before "10"."""
        return sorted_speakers(one.speaker for one in self.utterances)


@dataclass(frozen=True)
class Corpus:
    """A published labeled set: names and layout of its files.

    Attributes:
        name: what stands before the colon where a user names the set, as in ``ravdess:FOLDER``.
        title: its name in messages.
        labels: in the order of the network's outputs.
        parse: label, speaker and sex ("man", "woman", or "" where it is not known) of a recording, from its path below
            the corpus' folder without suffix; or the words for why a file is not used ("songs", "other files", ...).
        example: a recording's name, for the message where none is found.
        folds: (test speakers, validation speakers) of each published fold, where there are any; each speaker of the
            corpus is tested in one of them.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    parse: Callable[[str], tuple[str, str, str] | str]
    example: str
    folds: tuple[tuple[frozenset[str], frozenset[str]], ...] = ()
