"""Whether a recording is like those that a student has learned from, by the statistics of its bands. No PyTorch.

A student answers whatever it hears, music too. Two numbers that it computes anyway, for its normalisation, tell the
plainest cases: noise that covers the voice, a hum, a filter that no training recording had. Both are too small there;
that one is larger than in training means nothing. Voices, languages and rooms that are new to it they do not tell.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from liser_ray.student.front_end import N_BANDS

_DB = 10 / np.log(10)
_AUDIBLE = 40 / _DB
_TAIL = 0.005

_WORDS = {
    "movement_db": "its bands move by {:.1f} dB (in training by {:.1f} and more)",
    "bands": f"{{:.0f}} of its {N_BANDS} bands sound (in training {{:.0f}} and more)",
}


def measures(statistics: np.ndarray) -> dict[str, float]:
    """Two numbers of a recording's statistics, float32 [3, 64]: weight, mean and deviation of each band's logarithm.

    "movement_db" is the bands' mean deviation over time, 0 or more; "bands" how many of the 64 are within 40 dB of the
    loudest one.
    """
    _, mean, deviation = statistics
    return {
        "movement_db": float(deviation.mean() * _DB),
        "bands": float((mean >= mean.max() - _AUDIBLE).sum()),
    }


def least(heard: Iterable[np.ndarray]) -> dict[str, float]:
    """What all but 0.5 % of training segments reach, by name of `measures`, of their statistics; nothing of none."""
    if not (found := [measures(one) for one in heard]):
        return {}
    return {name: round(float(np.quantile([one[name] for one in found], _TAIL)), 2) for name in _WORDS}


def unlike(statistics: np.ndarray, heard: Mapping[str, float]) -> tuple[str, ...]:
    """In what a recording is unlike the training's, in words; nothing if it is like them.

    Args:
        statistics: of the recording, see `measures`.
        heard: `least` of the training; of what it lacks nothing is said.
    """
    found = measures(statistics)
    return tuple(
        words.format(found[name], heard[name])
        for name, words in _WORDS.items()
        if name in heard and found[name] < heard[name]
    )
