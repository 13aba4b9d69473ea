"""What a labeled set is made of, recordings with one label and one speaker each, and what is known of a corpus."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from liser_ray.corpora.segments import WHOLE, Segment
from liser_ray.results.records import sorted_speakers

UNLABELED = "speech"
"""The label of all recordings of a list that has attributes alone."""

EVERYBODY = -1
"""In place of a fold's number, where all speakers train and nobody is left to score."""

Split = Literal["", "train", "validation", "test"]
"""For what its publishers use a recording; "" where they do not say, or do not divide the set in one fixed way."""


@dataclass(frozen=True)
class Utterance:
    """One labeled recording."""

    uri: str  # of its file: absolute path or s3://bucket/key
    label: str
    speaker: str  # by a name that is unique within the set
    fold: int | None = None  # in which the speaker is tested, where a manifest says so
    sex: str = ""  # the speaker's, "man" or "woman"; "" where it is not known
    segment: Segment = WHOLE  # where in its file it is
    text: str = ""  # what is said in it; "" where the set does not tell
    votes: tuple[tuple[str, float], ...] = ()  # raters, or shares of them, for each label; (): nobody was asked
    attributes: tuple[tuple[str, float], ...] = ()  # numbers by name, such as arousal, where they are known
    split: Split = ""  # of an official split, which is then the set's only fold

    def __str__(self) -> str:
        """Which recording it is, in words."""
        return self.uri if self.segment == WHOLE else f"{self.uri} {self.segment}"


class Part(NamedTuple):
    """One of the sets that a labeled set is joined of; one by itself is its own only part."""

    name: str
    labels: tuple[str, ...]  # as the part calls them, in its order
    places: tuple[int, ...]  # where these stand among the labels of the whole
    prefix: str  # of its speakers' names in the whole

    def own_names(self, speakers: Iterable[str]) -> dict[str, str]:
        """Of the whole's speakers those of the part, and what it calls them."""
        return {name: name.removeprefix(self.prefix) for name in speakers if name.startswith(self.prefix)}


def only_part(name: str, labels: tuple[str, ...]) -> Part:
    """A set that is not joined."""
    return Part(name, labels, tuple(range(len(labels))), "")


@dataclass(frozen=True)
class LabeledSet:
    """A labeled set as it is listed, before anything is decoded."""

    name: str  # "ravdess", "cremad", or a manifest's stem; "ravdess+cremad" of both
    labels: tuple[str, ...]  # in the order of the network's outputs
    utterances: tuple[Utterance, ...]  # in an order that does not depend on how the files lie or the rows stand
    skipped: dict[str, int]  # how many files were passed over, by the reason in words ("songs", "videos", ...)
    joined: tuple[tuple["LabeledSet", Part], ...] = ()  # the sets that it is joined of; none: it is one

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sets that it is joined of, or itself."""
        return tuple(part for _, part in self.joined) or (only_part(self.name, self.labels),)

    @property
    def labels_by_set(self) -> dict[str, tuple[str, ...]]:
        """Its labels by its name, and those of the sets that it is joined of, as these call them."""
        return {self.name: self.labels, **{part.name: part.labels for part in self.parts}}

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, in natural order: "2" before "10"."""
        return sorted_speakers(one.speaker for one in self.utterances)


class Facts(NamedTuple):
    """What a published set says of a recording."""

    label: str
    speaker: str
    sex: str = ""  # "man", "woman", or "" where it is not known
    text: str = ""  # what is said, where the set tells it
    fold: int | None = None  # in which the speaker is tested, where that is not one of the corpus' `folds`
    votes: tuple[tuple[str, float], ...] = ()  # raters for each label, where the set tells them


@dataclass(frozen=True)
class Corpus:
    """A published labeled set: names and layout of its files."""

    name: str  # in lower case: what stands before the colon where a user names the set, as in ravdess:FOLDER
    title: str  # its name in messages
    labels: tuple[str, ...]  # in the order of the network's outputs
    # From the addresses of all files, of which lists may be read: the function from a recording's path below the
    # corpus' folder, without suffix, to its facts; or to the words for why a file is not used ("songs", ...).
    parser: Callable[[Sequence[str]], Callable[[str], Facts | str]]
    example: str  # a recording's name, for the message where none is found
    # Test speakers and validation speakers of each published fold; each speaker is tested in one of them.
    folds: tuple[tuple[frozenset[str], frozenset[str]], ...] = ()
    lists: tuple[str, ...] = ()  # names of its own lists, which are not counted as other files
