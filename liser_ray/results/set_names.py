"""Names of labeled sets that are joined, and of their speakers."""

import re

JOINT = "+"  # between the names

_IN_PART = re.compile(r" \((train|validation|test|fold \d+)\)$")


def set_names(labeled: str) -> list[str]:
    """The sets that a set is joined of, by its name: "ravdess" and "cremad" for "ravdess+cremad"; or itself alone."""
    return labeled.split(JOINT)


def identity(labeled: str, speaker: str) -> tuple[str, str]:
    """The set that a speaker is of, and the name there: in the joined "ravdess+cremad" it stands in "ravdess/2"."""
    of_set, _, name = speaker.partition("/")
    return (of_set, name) if JOINT in labeled and of_set in set_names(labeled) else (labeled, speaker)


def in_part(speaker: str, part: str) -> str:
    """What a speaker is called in one of several parts of a set, "train", "validation", "test" or "fold 1"."""
    return f"{speaker} ({part})"


def person(speaker: str) -> str:
    """Who it is, in whatever part: "Ross" for "Ross (test)"."""
    return _IN_PART.sub("", speaker)
