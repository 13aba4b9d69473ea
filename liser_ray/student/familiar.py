"""Whether a recording is like those that a student has learned from, by the statistics of its bands. No PyTorch.

A student answers whatever it hears, music too, and is often sure of it. Two numbers that it computes anyway, for its
normalisation, tell the plainest cases: noise that covers the voice, a hum, a filter that no training recording had.
Voices, languages and rooms that are new to it they do not tell.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from liser_ray.student.front_end import N_BANDS

_DB = 10 / np.log(10)
_AUDIBLE = 40 / _DB
_TAILS = (0.005, 0.995)

_WORDS = {
    "movement_db": "its bands move by {:.1f} dB ({:.1f} to {:.1f} in training)",
    "bands": f"{{:.0f}} of its {N_BANDS} bands sound ({{:.0f}} to {{:.0f}} in training)",
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


def ranges(heard: Iterable[np.ndarray]) -> dict[str, list[float]]:
    """Within what limits 99 % of training segments lie, by name of `measures`, of their statistics; none of none."""
    if not (found := [measures(one) for one in heard]):
        return {}
    return {name: [round(float(q), 2) for q in np.quantile([one[name] for one in found], _TAILS)] for name in _WORDS}


def unlike(statistics: np.ndarray, heard: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """In what a recording is unlike the training's, in words; nothing if it is like them.

    Args:
        statistics: of the recording, see `measures`.
        heard: `ranges` of the training; of what it lacks nothing is said.
    """
    found, words = measures(statistics), []
    for name, template in _WORDS.items():
        if name in heard:
            low, high = heard[name]
            if not low <= found[name] <= high:
                words.append(template.format(found[name], low, high))
    return tuple(words)
