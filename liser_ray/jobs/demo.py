"""The whole flow on a small generated corpus: ``python jobs/demo.py``, as ``make demo`` does."""

import logging
from collections.abc import Sequence
from pathlib import Path

from liser_ray.commands.settings import parse_settings
from liser_ray.demo.config import DemoConfig
from liser_ray.labeling.config import LabelConfig

DESCRIPTION = """\
Make a small corpus and small teachers, label its videos and its speech, train two students (one from the labels of two
speakers alone, one that the teachers help beside), and search the weights of the teachers' terms. A few minutes on two
cores, no network, nothing to configure; all files are in out/demo. Started again, it goes on where it was.

  python jobs/demo.py
  python jobs/demo.py --paper emodistill    # the prosodic and the linguistic teacher, on speech; in out/demo-emodistill
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the steps one after the other, each with its own report."""
    wanted = parse_settings(DemoConfig, DESCRIPTION, argv)
    logging.getLogger("liser_ray").setLevel(logging.WARNING)
    # What follows is imported where it is needed: the teachers alone take ten seconds.
    if wanted.paper == "emodistill":
        from liser_ray.demo.emodistill import run_emodistill

        run_emodistill(Path("out/demo-emodistill").absolute())
        return
    from liser_ray.demo.steps import compare_students, demo_settings, search_lambdas, step
    from liser_ray.labeling.job import label_corpus, print_result

    config = demo_settings(LabelConfig(), n_steps=6)
    folder = Path(config.output)
    with step(4, 6, "labels") as results:
        print_result(label_corpus(config))
        results.append(f"{folder}/labels, {folder}/report.html")
    with step(5, 6, "students") as results:
        results.append(compare_students(folder))
    with step(6, 6, "λ search") as results:
        results.append(search_lambdas(folder))
    print(f"Look at {folder}/report.html, {folder}/students/*.png and {folder}/search/heat_map.png")
    print(
        f"Try a student: .venv/bin/liser-ray predict {folder}/corpus/audio --model {folder}/students/conf-vid-sp-dstl"
    )
