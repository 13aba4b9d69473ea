"""A text classifier of Transformers (BERT and its kin), asked about the transcript of the whole span."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

TAKES: Takes = "text"


@dataclass(frozen=True)
class Options:
    """Which teacher of words, or teachers.

    Attributes:
        weights: a folder, s3:// or hf:// address. The last part of a folder or S3 prefix may be a pattern, such as
            out/words/fold-*: its folders give targets of their own (NAME_fold_0 ...).
        batch_size: transcripts per forward pass.
        labels: names of the outputs, in order. Empty: those in the folder.
        embedding: store also the vector that the classifier's last layer reads, in float16, of which students of
            EmoDistill learn.
    """

    weights: str = ""
    batch_size: int = 32
    labels: tuple[str, ...] = ()
    embedding: bool = True


load = later("liser_ray.teachers.words", "load_words_teacher")
