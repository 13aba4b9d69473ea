"""The whole flow on a small generated corpus: ``python jobs/demo.py``, as ``make demo`` does."""

import logging
import sys
from collections.abc import Sequence

from liser_ray.labeling.config import LabelConfig
from liser_ray.runtime.exits import run

DESCRIPTION = """\
Make a small corpus and small teachers, label its videos, train two students on the labels (one from labeled speech
alone, one with the teachers' help), and search the weights of the teachers' terms. A few minutes on two cores, no
network, nothing to configure; all files are in out/demo. Started again, it goes on where it was.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the steps one after the other, each with its own report."""
    if sys.argv[1:] if argv is None else argv:
        print(DESCRIPTION)
        return
    logging.getLogger("liser_ray").setLevel(logging.WARNING)
    # What follows is imported where it is needed: the teachers alone take ten seconds.
    from pathlib import Path

    from liser_ray.demo.search import search_lambdas
    from liser_ray.demo.settings import demo_settings
    from liser_ray.demo.students import compare_students
    from liser_ray.labeling.job import label_corpus
    from liser_ray.labeling.report import print_result

    config = demo_settings(LabelConfig(), n_steps=6)
    print_result(label_corpus(config))
    print("[5/6] students", flush=True)
    compare_students(Path(config.output))
    print("[6/6] λ search", flush=True)
    search_lambdas(Path(config.output))
    student = f"{config.output}/students/conf-vid-sp-dstl"
    print(f"Try a student: .venv/bin/liser-ray predict {config.output}/corpus/audio --model {student}")


if __name__ == "__main__":
    run(main)
