"""Train the LiSER student: ``python jobs/train_student.py --labeled ravdess:DIR --unlabeled LABELS --recipe NAME``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import defaults_of

DESCRIPTION = """\
Train the student, a network of 105 thousand parameters that hears speech and names an emotion, on labeled speech and
on the soft labels that label_corpus.py has given to unlabeled video: one student per fold and seed, each scored on
speakers that neither it nor its teacher has heard.

The job can be killed at any time: the same command goes on from the last checkpoint.

  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe no-dstl
  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe strong --seeds 0,1,2,3,4 --output out/strong
  python jobs/train_student.py --labeled ravdess:data/RAVDESS cremad:data/CREMA-D --recipe strong
  python jobs/train_student.py --labeled ravdess:data/RAVDESS --unlabeled out/labels --seeds 0,1,2 --output out/conf
  python jobs/train_student.py --labeled cremad:s3://bucket/CREMA-D --unlabeled s3://bucket/labels --workers 1
      --recipe vid-sp-dstl --loss.lambdas.speech 5 --loss.lambdas.face 1 --output s3://bucket/students

Recipes are the rows of the paper's Table 2: no-dstl, vid-dstl, sp-dstl, vid-sp-dstl, conf-vid-sp-dstl. Its ablations
are --loss.distillation ce, --train.two_stage and --train.labeled_fraction 0.5. The recipe strong is ours: no-dstl with
a better network and training. strong-vid-dstl and so on are the others with it; what is given by name goes before.
--train.placebo (targets of other recordings) and --train.epoch_steps (as many steps without teachers) are controls.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, train, print the scores."""
    lists = ("--labeled", "--label_map", "--trusted")
    config = parse_settings(StudentConfig, DESCRIPTION, argv, lists=lists, defaults=defaults_of)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch takes seconds.
    from liser_ray.student.training.job import train_students
    from liser_ray.student.training.report import print_result

    print_result(train_students(config))
