"""Settings of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from liser_ray.runtime.errors import UserError

RECORDED = "recorded"
"""The condition in which nothing is changed. The others load PyTorch, which `--help` need not."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Score a classifier on labeled speech, as recorded and as it may come out elsewhere.

    Attributes:
        model: a student's folder or .onnx file; a folder of students (train_student.py's output), each scored on the
            speakers that it has not heard; a speech teacher, a folder of these, or an audio classifier of Transformers.
        labeled: a published set (ravdess:FOLDER ...), or a manifest (.csv, .parquet).
        output: folder or s3:// prefix for evaluation.json, evaluation.md, evaluation.png and records/.
        conditions: names of conditions, or all.
        speakers: of the set that a classifier was trained on its test speakers, its validation speakers, or all, also
            those whom it has heard. Of other sets it is those whom its teachers have not heard either, or all.
        label_map: pairs CLASSIFIER=SET of labels that mean the same, where that is not plain.
        step_s: from one 3-s window of a student to the next, a multiple of 0.1 s.
        seed: of noise, rooms and voices.
        trust_remote_code: run the code that an audio classifier brings along. It may do anything that you may: read it
            first.
    """

    model: str = ""
    labeled: str = ""
    output: str = "out/evaluation"
    conditions: tuple[str, ...] = (RECORDED,)
    speakers: Literal["test", "validation", "all"] = "test"
    label_map: tuple[str, ...] = ()
    step_s: float = 0.1
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: give 0 or more.")
