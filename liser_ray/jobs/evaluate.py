"""Score a classifier on labeled speech: ``python jobs/evaluate.py --model MODEL --labeled ravdess:DIR``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.evaluation.config import EvaluationConfig

DESCRIPTION = """\
Score any student, ONNX file, speech teacher or audio classifier of Transformers on any labeled set: as it was recorded,
and cut, softer, in noise, among other voices, in a room, by telephone, compressed and at other speeds.

  python jobs/evaluate.py --model out/student --labeled ravdess:data/RAVDESS --conditions all
  python jobs/evaluate.py --model student.onnx --labeled cremad:data/CREMA-D
  python jobs/evaluate.py --model models/wav2vec2-emotion --labeled mine.csv --label_map ang=anger hap=joy

A folder of students is scored as they were tested, each on the speakers whom it has not heard; on a set that they were
not trained on all of them are asked about everybody whom their teachers have not heard, and the mean is given.
--label_map is CLASSIFIER'S=SET'S label.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, ask, print the scores."""
    config = parse_settings(EvaluationConfig, DESCRIPTION, argv, lists=("--conditions", "--label_map"))
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch takes seconds.
    from liser_ray.evaluation.job import evaluate
    from liser_ray.evaluation.report import print_evaluation

    print_evaluation(evaluate(config).content, config.output)
