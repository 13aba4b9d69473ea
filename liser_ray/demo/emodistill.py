"""The second demo: EmoDistill on speech whose words carry an emotion, and whose voice does not."""

from dataclasses import replace
from pathlib import Path

from liser_ray.commands.settings import parse_settings
from liser_ray.demo.steps import step
from liser_ray.demo.words import write_sentences
from liser_ray.finetuning.config import ProsodyConfig, ProsodyTrainSettings, TeacherConfig
from liser_ray.finetuning.words_config import WordsConfig, WordsTrainSettings
from liser_ray.labeling.config import LabelConfig
from liser_ray.results.records import Record
from liser_ray.results.scores import interval, paired_difference
from liser_ray.results.tables import interval_text
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import defaults_of

STEPS = 5
RECIPES = ("strong", "emodistill")
TRAIN = ("--train.epochs", "40", "--train.augment.band_masks", "0", "--train.augment.frame_masks", "0")
"""Fewer epochs than on RAVDESS, and all that is said is heard."""


def run_emodistill(folder: Path) -> None:
    """Speech, both teachers, their labels, and students with and without them; prints a line for each.

    Args:
        folder: of all files; called again, it goes on where it was.
    """
    from liser_ray.labeling.job import label_corpus, print_result

    with step(1, STEPS, "speech") as results:
        speech = str(write_sentences(folder / "speech"))
        results.append(speech)
    with step(2, STEPS, "prosodic teacher") as results:
        # One epoch of steps that are much too small: a teacher that knows next to nothing, for the gate.
        train = ProsodyTrainSettings(epochs=1, learning_rate=1e-5)
        prosody = ProsodyConfig(labeled=speech, output=str(folder / "prosody"), train=train, workers=0)
        results.append(_tuned(prosody))
    with step(3, STEPS, "words teacher") as results:
        words = WordsConfig(
            labeled=speech,
            output=str(folder / "words"),
            base="",
            train=WordsTrainSettings(epochs=15, learning_rate=1e-3),
            workers=0,
        )
        results.append(_tuned(words))
    with step(4, STEPS, "labels") as results:
        teachers = {
            one: {"kind": one, "weights": f"{config.output}/fold-*"}
            for one, config in (("prosody", prosody), ("words", words))
        }
        print_result(label_corpus(LabelConfig(input=speech, output=str(folder), teachers=teachers)))
        results.append(f"{folder}/labels, {folder}/report.html")
    with step(5, STEPS, "students") as results:
        results.append(_compare(speech, folder))


def _tuned(config: TeacherConfig) -> str:
    from liser_ray.finetuning.job import finetune  # seconds to import

    found = finetune(config)
    uar, chance = found.evaluation["overall"]["recordings"]["uar"], 1 / len(found.labels)
    return f"{len(found.bundles)} folds, UAR {uar:.2f} on unknown speakers (chance {chance:.2f})"


def _compare(speech: str, folder: Path) -> str:
    """Students from labels alone, and with the teachers that are better than chance; their difference, in words."""
    from liser_ray.student.training.job import train_students

    records: dict[str, tuple[Record, ...]] = {}
    for recipe in RECIPES:
        arguments = ["--labeled", speech, "--recipe", recipe, "--output", str(folder / "students" / recipe), *TRAIN]
        config = parse_settings(StudentConfig, "", arguments, lists=("--labeled",), defaults=defaults_of)
        if recipe != RECIPES[0]:
            config = replace(config, distil_labeled=str(folder), gate=True)
        found = train_students(config)
        records[recipe] = found.records
        print(f"      {found.name}: UAR {interval_text(interval(found.records, 'uar'))}", flush=True)
    alone, taught = (records[recipe] for recipe in RECIPES)
    difference = interval_text(paired_difference(taught, alone, "uar"))
    return f"difference {difference} (paired, {len(alone[0].confusions)} speakers, 95 % interval)"
