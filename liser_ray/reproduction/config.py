"""Which tables to make, and of what."""

from dataclasses import dataclass, field
from typing import Literal

from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.training.config import TrainConfig
from liser_ray.training.precision import Precision

Part = Literal["table-2", "table-3", "figure-2"]


@dataclass(frozen=True)
class ReproductionConfig:
    """Train the configurations of the paper's tables, and set their scores beside the paper's.

    Attributes:
        labeled: labeled sets, such as ravdess:FOLDER cremad:FOLDER.
        unlabeled: output of label_corpus.py, with the labels of a speech teacher for each fold of each set. Without it
            only what learns from labels alone is run.
        output: folder or s3:// prefix for runs/, records/, tables.md and pictures. The same command goes on where it
            was.
        parts: what to run: table-2, table-3 (ablations, on RAVDESS), figure-2 (fewer labels, on CREMA-D).
        shares: of the labels, in percent, for figure-2, beside all of them.
        seeds: numbers such as 0,1,2.
        records: make tables and pictures from the records in this folder or s3:// prefix, and train nothing.
        readme: Markdown files whose marked places get the tables; pictures go beside the first one into docs/images.
        loss: λ and distances, where a recipe leaves them open.
        network: variants of the network.
        train: the training itself.
        speech_teacher: as in train_student.py: of several speech teachers of each fold, a pattern such as hubert_*.
        min_video_valid: share of a video window's frames that must show the face for the window to count, 0..1.
        memory_gb: a labels table whose spectrograms take no more is held in memory, a larger one is streamed.
        precision: arithmetic, as in train_student.py.
        workers: processes that share each batch of a run, on Ray Train, where runs train beside each other; 0: train
            in this process, one run after the other.
    """

    labeled: list[str] = field(default_factory=list)
    unlabeled: str = ""
    output: str = "out/tables"
    parts: list[Part] = field(default_factory=lambda: ["table-2", "table-3", "figure-2"])
    shares: str = "25,50,75"
    seeds: str = "0,1,2"
    records: str = ""
    readme: list[str] = field(default_factory=list)
    loss: LossConfig = field(default_factory=LossConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speech_teacher: str = ""
    min_video_valid: float = 0.5
    memory_gb: float = 4.0
    precision: Precision = "auto"
    workers: int = 0
