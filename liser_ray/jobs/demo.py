"""The whole flow on a small generated corpus: ``python jobs/demo.py``, as ``make demo`` does."""

import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from liser_ray.commands.settings import parse_settings
from liser_ray.demo.config import DemoConfig
from liser_ray.labeling.config import LabelConfig

DESCRIPTION = """\
Make a small corpus and small teachers, label its videos and its speech, search the weights of the teachers' terms, and
train students from the labels of two speakers alone, and as long with the teachers' help. Five to six minutes on two
cores, no network, nothing to configure; all files are in out/demo. Started again, it goes on where it was.

  python jobs/demo.py
  python jobs/demo.py --paper emodistill    # the prosodic and the linguistic teacher, on speech; in out/demo-emodistill
"""

_NEXT = """
Three things to try:
  look at {folder}/report.html, and at the pictures in {pictures}
  {predict} {speech} --model {student}
  {label} --input FOLDER_OF_YOUR_{what} --output out/mine --dry_run"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the steps one after the other, with a line for each."""
    wanted = parse_settings(DemoConfig, DESCRIPTION, argv)
    logging.getLogger("liser_ray").setLevel(logging.WARNING)
    # What follows is imported where it is needed: the teachers alone take ten seconds.
    if wanted.paper == "emodistill":
        folder = Path("out/demo-emodistill")
        _keep_home_clean(folder)
        from liser_ray.demo.emodistill import RECIPES, run_emodistill

        run_emodistill(folder.absolute())
        students = f"{folder}/students"
        _say_what_next(folder, students, "speech/speaker_1_*.flac", f"{students}/{RECIPES[-1]}", "RECORDINGS")
        return
    config = LabelConfig()
    shown = Path(config.output)
    _keep_home_clean(shown)
    print(f"Six steps, five to six minutes on two cores that do nothing else; all files are in {shown}", flush=True)
    from liser_ray.demo.steps import compare_students, demo_settings, search_lambdas, step
    from liser_ray.labeling.job import label_corpus
    from liser_ray.labeling.progress import describe

    config = demo_settings(config, n_steps=6)
    folder = Path(config.output)
    with step(4, 6, "labels") as results:
        results.append(describe(label_corpus(config).outcomes))
    with step(5, 6, "λ search") as results:
        lambdas, found = search_lambdas(folder)
        results.append(found)
    with step(6, 6, "students") as results:
        results.append(compare_students(folder, lambdas))
    pictures = f"{shown}/students and {shown}/search"
    _say_what_next(shown, pictures, "corpus/audio/speaker_1_*.flac", f"{shown}/students/conf-vid-sp-dstl", "VIDEOS")


def _say_what_next(folder: Path, pictures: str, speech: str, student: str, what: str) -> None:
    from liser_ray.demo.steps import command

    words = {"folder": folder, "pictures": pictures, "speech": folder / speech, "student": student, "what": what}
    print(_NEXT.format(predict=command("predict"), label=command("label"), **words))


def _keep_home_clean(folder: Path) -> None:
    """Matplotlib's list of fonts and the token of Ray's ports would otherwise go to the user's home."""
    os.environ.setdefault("MPLCONFIGDIR", str(folder.absolute() / "matplotlib"))
    if not Path("~/.ray/auth_token").expanduser().exists():
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
