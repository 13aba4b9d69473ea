"""The emotions of the demo and what each teacher calls them."""

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised")
"""Five of RAVDESS's eight, in RAVDESS's order: the ones that a warped portrait and a synthetic voice can tell apart."""

SPEECH_LABELS = EMOTIONS
"""Label names of the demo's speech teacher, in the order of its outputs."""

VIDEO_LABELS = ("angry", "happy", "neutral", "sad", "surprise")
"""Label names of the demo's video teacher: five of FERV39k's seven, in FERV39k's order and spelling."""


def video_label(emotion: str) -> str:
    """FERV39k's name of one of `EMOTIONS`."""
    return "surprise" if emotion == "surprised" else emotion
