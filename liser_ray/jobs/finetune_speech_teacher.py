"""Train speech teachers: ``python jobs/finetune_speech_teacher.py --labeled ravdess:DIR --output DIR``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.finetuning.config import LISTS, FinetuneConfig
from liser_ray.student.training.recipes import defaults_of_loss

DESCRIPTION = """\
Tune a pretrained speech model (HuBERT, Whisper ...) to label emotions, with LoRA on its attention or by a head alone:
one teacher for each fold of a labeled set, which never hears that fold's validation and test speakers.

The job can be killed at any time: the same command goes on from the last epoch.

  python jobs/finetune_speech_teacher.py --labeled ravdess:data/ravdess --output out/teachers
  python jobs/finetune_speech_teacher.py --labeled cremad:s3://bucket/CREMA-D --output s3://bucket/teachers --folds 0,1
  python jobs/finetune_speech_teacher.py --labeled mine.csv --base models/hubert-large --workers 4 --train.epochs 20
  python jobs/finetune_speech_teacher.py --labeled ravdess:data/ravdess --base hf://openai/whisper-tiny.en --head_only
  python jobs/finetune_speech_teacher.py --labeled iemocap:data/iemocap --recipe emodistill --distil_labeled out/labels
      --projections.prosody 64 --projections.words 768
  python jobs/finetune_speech_teacher.py --labeled ravdess:data/ravdess --recipe pretext-energy --unlabeled out/labels

Then: python jobs/label_corpus.py --teachers speech=speech:out/teachers/fold-* ...
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, train, print the scores."""
    config = parse_settings(FinetuneConfig, DESCRIPTION, argv, lists=LISTS, defaults=defaults_of_loss)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch and Transformers take ten seconds.
    from liser_ray.finetuning.job import finetune
    from liser_ray.finetuning.report import print_result

    print_result(finetune(config))
