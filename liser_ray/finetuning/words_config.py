"""Every setting of the training of teachers of words."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from liser_ray.finetuning.config import TeacherConfig, TuneSettings
from liser_ray.runtime.errors import UserError

if TYPE_CHECKING:  # PyTorch, which settings need not wait for
    from liser_ray.finetuning.method import Method


@dataclass(frozen=True)
class NewModel:
    """A small BERT without any pretraining.

    Attributes:
        pieces: of words, at most so many, but the 256 bytes at least; learned from the training texts (byte pairs).
        hidden_size: width of its layers.
        layers: how many.
        heads: of each layer's attention.
        dropout: in all places that BERT has for it, 0..1.
    """

    pieces: int = 8192
    hidden_size: int = 128
    layers: int = 2
    heads: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.pieces, self.hidden_size, self.layers, self.heads) < 1 or not 0 <= self.dropout < 1:
            raise UserError(
                "A new model needs pieces, hidden_size, layers and heads of 1 or more, and dropout below 1."
            )
        if self.hidden_size % self.heads:
            raise UserError(f"A hidden_size of {self.hidden_size} can't be shared by {self.heads} heads.")


@dataclass(frozen=True)
class WordsTrainSettings(TuneSettings):
    """What decides on the weights of a teacher of words, beside its base model and its texts.

    Attributes:
        learning_rate: falls linearly to 0 over all steps; in the first tenth of them it also rises, to .91 of this.
            The default is for a pretrained BERT; the job's for a new model is 1e-3.
    """

    epochs: int = 10
    patience: int = 3
    learning_rate: float = 3e-5


def defaults_without_base(given: "WordsConfig") -> dict[str, Any]:
    """What else than with a pretrained model is the default."""
    return {} if given.base else {"train.learning_rate": 1e-3}


@dataclass(frozen=True)
class WordsConfig(TeacherConfig):
    """Tune a text classifier to label emotions from transcripts, one teacher per fold.

    Attributes:
        labeled: a CSV or a Parquet file with the columns text, label, speaker and perhaps fold and sex, or a published
            set that tells what is said (iemocap:FOLDER); no sound is opened.
        base: pretrained model: a folder, s3:// or hf:// address of any that Transformers has a text classifier of, such
            as BERT, RoBERTa, ELECTRA or DistilBERT. Empty: none, but a new one, see new_model.
        new_model: what is trained if there is no base.
        train: the training itself.
    """

    output: str = "out/words"
    base: str = "hf://google-bert/bert-base-uncased"
    new_model: NewModel = field(default_factory=NewModel)
    train: WordsTrainSettings = field(default_factory=WordsTrainSettings)

    def method(self) -> "Method[Any]":
        """All weights are tuned."""
        from liser_ray.finetuning.words import WordsMethod

        return WordsMethod(self)
