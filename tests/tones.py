"""Speech whose labels can be heard: tones."""

from collections.abc import Sequence

import numpy as np

from liser_ray.corpora.segments import WHOLE
from liser_ray.corpora.speech import LabeledSpeech

LABELS = ("low", "middle", "high")


def tone(label: int, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """A tone of 200, 800 or 3,200 Hz, a tenth up or down, in noise; int16 [n], 16 kHz."""
    time_s = np.arange(int(duration_s * 16_000)) / 16_000
    sine = np.sin(2 * np.pi * 200 * 4**label * rng.uniform(0.9, 1.1) * time_s)
    return (8000 * sine + 300 * rng.standard_normal(len(sine))).astype(np.int16)


def make_tones(
    speakers: Sequence[str], takes: int = 2, shortest_s: float = 0.5, longest_s: float = 1.2, seed: int = 0
) -> LabeledSpeech:
    """Some tones of each label by each speaker."""
    rng = np.random.default_rng(seed)
    waveforms, truth, spoken_by = [], [], []
    for speaker in speakers:
        for label in [*range(len(LABELS))] * takes:
            waveforms.append(tone(label, rng.uniform(shortest_s, longest_s), rng))
            truth.append(label)
            spoken_by.append(speaker)
    return LabeledSpeech(
        name="tones",
        labels=LABELS,
        pcm=np.concatenate(waveforms),
        ends=np.cumsum([len(one) for one in waveforms]),
        label_index=np.array(truth),
        speakers=tuple(spoken_by),
        sexes={},
        uris=tuple(f"{number}.wav" for number in range(len(truth))),
        segments=(WHOLE,) * len(truth),
        skipped={},
        problems=(),
    )
