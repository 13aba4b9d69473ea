"""Sentences whose words carry an emotion that the voice does not: the second demo's speech.

Each word has syllables of its own, so that who hears speech alone can learn it. The words of an emotion have a vowel in
common, and half of a sentence's words are of no emotion.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from liser_ray.demo.folders import make_once, write_csv
from liser_ray.demo.people import EMOTIONS, person, take_rng
from liser_ray.demo.voices import CONSONANTS, SAMPLE_RATE_HZ, Syllable, speak

RECIPE = 1
"""To be raised with every change of what is made."""

SPEAKERS, TAKES, FOLDS = 10, 6, 2
_N_WORDS = 6

WORDS = {
    "neutral": ("table", "monday", "paper"),
    "happy": ("lovely", "sunshine", "wonderful"),
    "sad": ("lonely", "sorrow", "missing"),
    "angry": ("furious", "unfair", "enough"),
    "surprised": ("suddenly", "really", "unbelievable"),
}
_OTHERS = ("well", "today", "people", "always", "around", "maybe", "again", "something")
_VOWEL_OF_OTHERS = len(EMOTIONS)


def write_sentences(folder: Path, seed: int = 0, speakers: int = SPEAKERS) -> Path:
    """Speak them, once; a list with the columns path, label, speaker, fold and text.

    Raises:
        UserError: if ``folder`` holds something else.
    """
    recipe = {"sentences": RECIPE, "seed": seed, "speakers": speakers, "takes": TAKES}

    def fill(unfinished: Path) -> None:
        header = ("path", "label", "speaker", "fold", "text")
        write_csv(unfinished / "labels.csv", header, _recordings(unfinished, seed, speakers))

    make_once(folder, recipe, fill)
    return folder / "labels.csv"


def sentence(emotion: str, rng: np.random.Generator) -> list[str]:
    """Words of the emotion and others, in turn."""
    pairs = zip(rng.choice(WORDS[emotion], _N_WORDS // 2), rng.choice(_OTHERS, _N_WORDS // 2), strict=True)
    return [str(word) for pair in pairs for word in pair]


def syllables(word: str) -> tuple[Syllable, Syllable]:
    """The same ones whenever it is said: the vowel is its emotion's, the consonants are its own."""
    vowel = next((k for k, emotion in enumerate(EMOTIONS) if word in WORDS[emotion]), _VOWEL_OF_OTHERS)
    first, second = (sum(map(ord, part)) % len(CONSONANTS) for part in (word, word[1:]))
    return Syllable(vowel, CONSONANTS[first]), Syllable(vowel, CONSONANTS[second])


def _recordings(folder: Path, seed: int, speakers: int) -> Iterator[tuple[str, str, str, str, str]]:
    for speaker in range(speakers):
        voice = person(seed, "sentences", speaker).voice
        for number, emotion in enumerate(np.repeat(EMOTIONS, TAKES).tolist(), start=1):
            rng = take_rng(seed, "sentences", speaker, number)
            said = sentence(emotion, rng)
            spoken = [syllable for word in said for syllable in syllables(word)]
            utterance = speak(voice, "neutral", float(rng.uniform(2.5, 3.5)), rng, spoken)
            name = f"speaker_{speaker}_{number}.flac"
            soundfile.write(folder / name, utterance.waveform, SAMPLE_RATE_HZ, subtype="PCM_16")
            yield name, emotion, f"speaker_{speaker}", str(speaker % FOLDS), " ".join(said)
