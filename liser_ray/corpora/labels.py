"""Names of emotions: corpora spell the same one differently."""

from collections.abc import Mapping

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "neutral": ("neu", "n", "normal"),
    "calm": ("relaxed",),
    "happy": ("happiness", "hap", "joy", "joyful", "h"),
    "sad": ("sadness", "s"),
    "angry": ("anger", "ang", "a"),
    "fearful": ("fear", "fea", "afraid", "anxiety", "anxious", "f"),
    "disgust": ("disgusted", "dis", "d"),
    "surprised": ("surprise", "sur", "pleasant surprise", "pleasant_surprise", "u"),
    "contempt": ("contemptuous", "c"),
    "bored": ("boredom",),
}

_MEANING = {name: means for means, names in SYNONYMS.items() for name in (means, *names)}


def meaning(name: str) -> str:
    """What a label says, whatever its spelling: "angry" for "ANG"."""
    plain = name.strip().lower()
    return _MEANING.get(plain, plain)
