"""The second demo: EmoDistill on speech whose words carry an emotion, and whose voice does not."""

from dataclasses import replace
from pathlib import Path

from liser_ray.commands.settings import parse_settings
from liser_ray.demo.steps import compare, step, tune
from liser_ray.demo.words import write_sentences
from liser_ray.finetuning.config import ProsodyConfig, ProsodyTrainSettings, WordsConfig, WordsTrainSettings
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.job import label_corpus
from liser_ray.labeling.progress import describe
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import defaults_of

STEPS = 5
RECIPES = ("strong", "emodistill")
TRAIN = ("--train.epochs", "40", "--train.augment.band_masks", "0", "--train.augment.frame_masks", "0")
"""Fewer epochs than on RAVDESS, and all that is said is heard."""


def run_emodistill(folder: Path) -> None:
    """Speech, teachers, labels, students with and without them, and a line for each; called again, it goes on."""
    with step(1, STEPS, "speech") as results:
        speech = str(write_sentences(folder / "speech"))
        results.append(speech)
    with step(2, STEPS, "prosodic teacher") as results:
        # One epoch of steps that are much too small: a teacher that knows next to nothing, for the gate.
        train = ProsodyTrainSettings(epochs=1, learning_rate=1e-5)
        prosody = ProsodyConfig(labeled=speech, output=str(folder / "prosody"), train=train, workers=0)
        results.append(tune(prosody))
    with step(3, STEPS, "words teacher") as results:
        words = WordsConfig(
            labeled=speech,
            output=str(folder / "words"),
            base="",
            train=WordsTrainSettings(epochs=15, learning_rate=1e-3),
            workers=0,
        )
        results.append(tune(words))
    with step(4, STEPS, "labels") as results:
        teachers = {
            one: {"kind": one, "weights": f"{config.output}/fold-*"}
            for one, config in (("prosody", prosody), ("words", words))
        }
        labeled = label_corpus(LabelConfig(input=speech, output=str(folder), teachers=teachers))
        results.append(f"{describe(labeled.outcomes)}: {folder}/report.html")
    with step(5, STEPS, "students") as results:
        results.append(_compare(speech, folder))


def _compare(speech: str, folder: Path) -> str:
    """Students from labels alone, and with the teachers that are better than chance; their difference, in words."""
    alone, taught = (
        parse_settings(
            StudentConfig,
            "",
            ["--labeled", speech, "--recipe", recipe, "--output", str(folder / "students" / recipe), *TRAIN],
            lists=("--labeled",),
            defaults=defaults_of,
        )
        for recipe in RECIPES
    )
    return compare(alone, replace(taught, distil_labeled=str(folder), gate=True))[1]
