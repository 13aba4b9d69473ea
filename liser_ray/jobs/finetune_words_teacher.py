"""Train teachers of words: ``python jobs/finetune_words_teacher.py --labeled iemocap:DIR --output DIR``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.finetuning.config import WordsConfig, defaults_without_base

DESCRIPTION = """\
Tune a text classifier (BERT, RoBERTa ...) to label emotions from what is said: one teacher for each fold of a labeled
set, which never reads that fold's validation and test speakers.

The job can be killed at any time: the same command goes on from the last epoch.

  python jobs/finetune_words_teacher.py --labeled iemocap:data/IEMOCAP --output out/words
  python jobs/finetune_words_teacher.py --labeled texts.csv --base models/roberta-base --train.epochs 5
  python jobs/finetune_words_teacher.py --labeled texts.csv --base ''                                  a new small BERT

Then: python jobs/label_corpus.py --teachers words=words:out/words/fold-* --transcribe hf://openai/whisper-tiny.en ...
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, train, print the scores."""
    config = parse_settings(WordsConfig, DESCRIPTION, argv, defaults=defaults_without_base)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch and Transformers take ten seconds.
    from liser_ray.finetuning.job import finetune
    from liser_ray.finetuning.report import print_result

    print_result(finetune(config))
