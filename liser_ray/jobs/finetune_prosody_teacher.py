"""Train prosodic teachers: ``python jobs/finetune_prosody_teacher.py --labeled ravdess:DIR --output DIR``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.finetuning.config import ProsodyConfig

DESCRIPTION = """\
Train a residual network on descriptors of the voice (pitch, loudness, spectrum: 25 every 10 ms) to label emotions, from
scratch: one teacher for each fold of a labeled set, which never hears that fold's validation and test speakers.

The job can be killed at any time: the same command goes on from the last epoch.

  python jobs/finetune_prosody_teacher.py --labeled ravdess:data/ravdess --output out/prosody
  python jobs/finetune_prosody_teacher.py --labeled mine.csv --folds 0,1 --train.epochs 20
  python jobs/finetune_prosody_teacher.py --labeled ravdess:data/ravdess --descriptors opensmile --output out/opensmile

Then: python jobs/label_corpus.py --teachers prosody=prosody:out/prosody/fold-* ...
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, train, print the scores."""
    config = parse_settings(ProsodyConfig, DESCRIPTION, argv)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    from liser_ray.finetuning.job import finetune  # PyTorch takes seconds
    from liser_ray.finetuning.report import print_result

    print_result(finetune(config))
