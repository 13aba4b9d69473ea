"""Names of labeled sets that are joined, and of their speakers."""

JOINT = "+"  # between the names


def set_names(labeled: str) -> list[str]:
    """The sets that a set is joined of, by its name: "ravdess" and "cremad" for "ravdess+cremad"; or itself alone."""
    return labeled.split(JOINT)


def identity(labeled: str, speaker: str) -> tuple[str, str]:
    """The set that a speaker is of, and the name there: in the joined "ravdess+cremad" it stands in "ravdess/2"."""
    of_set, _, name = speaker.partition("/")
    return (of_set, name) if JOINT in labeled and of_set in set_names(labeled) else (labeled, speaker)
