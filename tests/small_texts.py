"""A list of what is said, whose words tell how: `from small_texts import write_texts`."""

import csv
from pathlib import Path

import numpy as np

WORDS = {
    "angry": ("furious", "hate", "unfair", "shut"),
    "happy": ("lovely", "great", "smile", "sunny"),
    "sad": ("alone", "tears", "grey", "lost"),
}
_ANY = ("i", "you", "we", "was", "is", "the", "day", "it", "so", "there")


def write_texts(path: Path, speakers: int = 6, of_each: int = 12, seed: int = 0) -> str:
    """Columns text, label, speaker and fold (two), and no file: each speaker says so many texts of each label.

    Speaker k also says a word of their own, "word" and k in letters.
    """
    rng, rows = np.random.default_rng(seed), []
    for speaker in range(speakers):
        for label, words in WORDS.items():
            for _ in range(of_each):
                said = [*rng.choice(_ANY, 4), *rng.choice(words, 2), f"word{'abcdefghij'[speaker]}"]
                rows.append((" ".join(rng.permutation(said)) + ".", label, str(speaker), speaker % 2))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "speaker", "fold"), *rows])
    return str(path)
