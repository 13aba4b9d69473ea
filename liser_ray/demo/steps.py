"""The steps of the demo: what is made first, and the jobs that everybody uses, on it."""

import io
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

from liser_ray.demo.corpus import make_corpus
from liser_ray.demo.networks import DemoNetworks, fit_networks
from liser_ray.finetuning.config import FinetuneConfig, TeacherConfig, TrainSettings
from liser_ray.finetuning.job import finetune
from liser_ray.labeling.config import LabelConfig
from liser_ray.results.plots import differences_plot, speakers_plot
from liser_ray.results.records import Record
from liser_ray.results.scores import interval, paired_difference
from liser_ray.results.tables import interval_text
from liser_ray.runtime.display import clock
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import uar_text
from liser_ray.search.space import setting_name
from liser_ray.storage.addresses import is_s3
from liser_ray.storage.files import write_bytes
from liser_ray.student.config import LossConfig
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import train_students

RECIPES = ("no-dstl", "conf-vid-sp-dstl")
LABELED_FRACTION = 0.125
"""Of the training speakers, two in a fold: labels are scarce, and all the others' speech is there without them."""

TRAIN = TrainConfig(
    epochs=20, epoch_steps=20, learning_rate=1e-3, labeled_fraction=LABELED_FRACTION, labeled_by="speaker"
)
"""Fewer and larger steps than RAVDESS takes; as many without teachers as with them, or more steps would be the help."""

SPACE = ["loss.lambdas.speech=0.5,5", "loss.lambdas.face=0.5,5"]


@contextmanager
def step(number: int, n_steps: int, what: str) -> Iterator[list[str]]:
    """Print one line of the demo at the end: what was done, what came of it (put into the list), how long it took.

    What the jobs print at their ends is for who runs one by itself.
    """
    results: list[str] = []
    started = time.monotonic()
    with redirect_stdout(io.StringIO()):
        yield results
    print(f"[{number}/{n_steps}] {what:<16} {'  '.join(results)}  {clock(time.monotonic() - started)}", flush=True)


def demo_settings(config: LabelConfig, n_steps: int = 3) -> LabelConfig:
    """Settings of the labeling job with the demo's input and teachers; what is made lies in the output folder.

    Faces are found by OpenCV's Haar cascade, which needs no download, and whose crops the face teacher was fitted to.

    Raises:
        UserError: if the output is no folder.
    """
    if config.teachers or config.require:
        raise UserError("Give --input: without one the demo's corpus is labeled, by teachers of the demo.")
    if is_s3(config.output):
        raise UserError("The demo makes its corpus in a folder: give --output one, or your own videos as --input.")
    folder = Path(config.output).absolute()
    with step(1, n_steps, "corpus") as results:
        make_corpus(folder / "corpus")
        videos, speech = (len(list((folder / "corpus" / one).iterdir())) for one in ("videos", "speech"))
        results.append(f"{videos} videos and {speech} recordings in {_from_here(str(folder / 'corpus'))}")
    with step(2, n_steps, "networks") as results:
        networks = fit_networks(folder / "networks")
        results.append(f"a face teacher and a speech model in {_from_here(str(folder / 'networks'))}")
    tuned = speech_settings(folder, networks)
    with step(3, n_steps, "speech teachers") as results:
        results.append(tune(tuned))
    return replace(
        config,
        input=str(folder / "corpus/manifest.csv"),
        output=str(folder),
        teachers={"face": networks.face, "speech": {"kind": "speech", "weights": f"{tuned.output}/fold-*"}},
        require=["speech"],
        media=replace(config.media, faces=replace(config.media.faces, detector="opencv")),
    )


def speech_settings(folder: Path, networks: DemoNetworks) -> FinetuneConfig:
    """Settings of the job that tunes the speech teachers, for a narrow model and the labels that students have."""
    return FinetuneConfig(
        labeled=str(folder / "corpus/audio/labels.csv"),
        output=str(folder / "speech_teachers"),
        base=str(networks.speech_base),
        workers=0,
        # Pieces of a second: the labeling job will ask about half a second at a time.
        train=TrainSettings(
            epochs=40,
            patience=15,
            batch_size=16,
            learning_rate=5e-3,
            crop_s=1.0,
            labeled_fraction=LABELED_FRACTION,
            labeled_by="speaker",
        ),
    )


def tune(config: TeacherConfig) -> str:
    """Tune the teachers of all folds; how good they are, in words."""
    found = finetune(config)
    uar, chance = found.evaluation["overall"]["recordings"]["uar"], 1 / len(found.labels)
    return f"{len(found.bundles)} folds, UAR {uar:.2f} on unknown speakers (chance {chance:.2f})"


def compare(alone: StudentConfig, helped: StudentConfig) -> tuple[dict[str, tuple[Record, ...]], str]:
    """Train two students on the same speakers; records by name, and their scores in words."""
    records: dict[str, tuple[Record, ...]] = {}
    for config in (alone, helped):
        found = train_students(config)
        records[found.name] = found.records
    base, other = records.values()
    uars = (f"{interval(one, 'uar').value:.2f}" for one in (base, other))
    difference = interval_text(paired_difference(other, base, "uar"))
    return records, f"UAR {next(uars)} from labels alone, {next(uars)} with teachers: {difference} more, 95 % interval"


def search_lambdas(folder: Path) -> tuple[dict[str, float], str]:
    """Find the λ of both teachers on the validation speakers: by the teacher's name; and what was found, in words."""
    best = search(
        SearchConfig(
            labeled=str(folder / "corpus/audio/labels.csv"),
            unlabeled=str(folder),
            output=str(folder / "search"),
            space=SPACE,
            train=replace(TRAIN, epochs=10),  # enough to tell good weights from bad ones
        )
    ).best
    lambdas = {name.rpartition(".")[2]: float(value) for name, value in best.setting.items()}
    return lambdas, f"best on the validation speakers: {setting_name(best.setting)}, UAR {uar_text(best)}"


def compare_students(folder: Path, lambdas: dict[str, float], train: TrainConfig = TRAIN) -> str:
    """Train students from labels alone and ones that their teachers help, on the same speakers, and plot their scores.

    With the teachers' help also one of all speakers, which is to be used. Gives the scores in words.
    """
    speech = str(folder / "corpus/audio/labels.csv")
    plain = StudentConfig(labeled=speech, unlabeled=str(folder), train=train, seeds="0,1")
    alone, helped = (replace(plain, recipe=one, output=str(folder / "students" / one)) for one in RECIPES)
    alone = replace(alone, unlabeled="")  # which it would not read
    helped = replace(helped, loss=LossConfig(lambdas=lambdas))
    records, difference = compare(alone, helped)
    train_students(replace(helped, folds="none", seeds="0"))
    of = dict(zip(RECIPES, records.values(), strict=True))
    for name, png in (("differences", differences_plot(of)), ("speakers", speakers_plot(of[helped.recipe]))):
        write_bytes(str(folder / f"students/{name}.png"), png)
    return difference


def command(name: str) -> str:
    """How one of the installed commands is typed here."""
    beside = Path(sys.executable).with_name("liser-ray")
    program = "liser-ray" if shutil.which("liser-ray") or not beside.exists() else _from_here(str(beside))
    return f"{program} {name}"


def _from_here(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")
