"""RAVDESS: what its file names say, and the folds that most papers test on.

Names are ``MM-CC-EE-II-SS-RR-AA`` (Livingstone and Russo 2018): modality, vocal channel, emotion, intensity, sentence,
repetition, actor. Used are those of modality 03 (sound alone) and channel 01 (speech): 1,440 recordings of 24 actors.
"""

import re

NAME = "ravdess"

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""In the order of the emotion field, 01 to 08."""

SPEAKERS = frozenset(str(actor) for actor in range(1, 25))

# Actors of each fold: (test, validation). The tests are those of Luna-Jiménez et al. 2021.
FOLDS: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"2", "5", "14", "15", "16"}), frozenset({"3", "6"})),
    (frozenset({"3", "6", "7", "13", "18"}), frozenset({"10", "11"})),
    (frozenset({"10", "11", "12", "19", "20"}), frozenset({"8", "17"})),
    (frozenset({"8", "17", "21", "23", "24"}), frozenset({"1", "14"})),
    (frozenset({"1", "4", "9", "22"}), frozenset({"2", "5"})),
)

_FIELDS = re.compile(r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-0[12]-0[12]-0[12]-(?P<actor>\d\d)")


def parse_name(stem: str) -> tuple[str, str] | str:
    """Label and speaker ("1" to "24") from a file's name without suffix, or the words for why it is not used."""
    fields = _FIELDS.fullmatch(stem)
    if fields is None or str(int(fields["actor"])) not in SPEAKERS:
        return "other files"
    if fields["modality"] != "03":
        return "videos"
    if fields["channel"] == "02":
        return "songs"
    return LABELS[int(fields["emotion"]) - 1], str(int(fields["actor"]))


def sex_of(speaker: str) -> str:
    """Whether an actor is a "man" (odd number) or a "woman" (even number)."""
    return "man" if int(speaker) % 2 else "woman"
