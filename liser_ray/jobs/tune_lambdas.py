"""The search for the λ of each target: ``python jobs/tune_lambdas.py --labeled ravdess:DIR --unlabeled LABELS``."""

import logging
import sys
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.search.config import SearchConfig
from liser_ray.student.training.recipes import defaults_of

DESCRIPTION = """\
Find λ, the weights of the teachers' terms, and any other setting of the student, by its UAR on the validation speakers
of all folds. No student is scored on its test speakers: train_student.py does that once, with the
best setting, from the file best.yaml that the search writes.

The job can be killed at any time: the same command, or --resume with --output, goes on from the last checkpoints.

  python jobs/tune_lambdas.py --labeled ravdess:data/RAVDESS --unlabeled out/labels --output out/search
  python jobs/tune_lambdas.py --labeled ravdess:data/RAVDESS --recipe no-dstl
      --method tpe --samples 40 --space train.learning_rate=1e-5..1e-2 network.pooling=last,mean,attention
  python jobs/tune_lambdas.py --labeled cremad:s3://bucket/CREMA-D --unlabeled s3://bucket/labels --scheduler asha
      --method random --samples 512 --seeds 0,1 --first_folds 0,1 --output s3://bucket/search
  python jobs/tune_lambdas.py --output out/search --resume
  python jobs/train_student.py --config out/search/best.yaml
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, search, print the best ones."""
    given = sys.argv[1:] if argv is None else argv

    def parse(arguments: Sequence[str]) -> SearchConfig:
        return parse_settings(
            SearchConfig,
            DESCRIPTION,
            arguments,
            lists=("--labeled", "--label_map", "--space", "--trusted"),
            defaults=defaults_of,
        )

    config = parse(given)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch takes seconds.
    from liser_ray.search.job import search, settings_of
    from liser_ray.search.report import print_result

    if config.resume:
        config = parse(["--config", settings_of(config.output), *given])  # what is given comes on top
    print_result(search(config))
