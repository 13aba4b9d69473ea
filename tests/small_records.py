"""Records of runs that never ran, for tests of what is made of them."""

import numpy as np

from liser_ray.results.records import FoldResult, Record

LABELS = ("calm", "sad")


def confusion(calm, sad):
    """Of two labels, from "2/4": that many of so many recordings of the label are right."""
    (calm_right, n_calm), (sad_right, n_sad) = (map(int, one.split("/")) for one in (calm, sad))
    return np.array([[calm_right, n_calm - calm_right], [n_sad - sad_right, sad_right]], np.int64)


def make_record(*folds, recipe="no-dstl", labeled="ravdess", labels=LABELS, seed=0, sexes=None, content=None):
    """A record of folds, each a dict from speaker to counts."""
    results = tuple(FoldResult(k, 10 + k, 50, 0.5, confusions) for k, confusions in enumerate(folds))
    return Record(recipe, labeled, labels, seed, results, sexes or {}, content or {})


def random_record(n_speakers=12, recipe="no-dstl", labeled="ravdess", labels=LABELS, seed=0, n_takes=6, right=0.6):
    """Speakers "1", "2", ... in three folds, odd men and even women, each right more or less often than others."""
    rng = np.random.default_rng([seed, *recipe.encode()])
    speakers = [str(k) for k in range(1, n_speakers + 1)]
    folds = [{}, {}, {}]
    for number, speaker in enumerate(speakers):
        counts = np.zeros((len(labels), len(labels)), np.int64)
        skill = np.clip(right + 0.1 * np.sin(7 * number), 0, 1)
        for k in range(len(labels)):
            softmax = np.full(len(labels), (1 - skill) / (len(labels) - 1))
            softmax[k] = skill
            counts[k] = rng.multinomial(n_takes, softmax / softmax.sum())
        folds[number % 3][speaker] = counts
    sexes = {speaker: "man" if int(speaker) % 2 else "woman" for speaker in speakers}
    return make_record(*folds, recipe=recipe, labeled=labeled, labels=labels, seed=seed, sexes=sexes)
