"""Every setting of the training of teachers: those that all have in common, and those of each kind."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from liser_ray.corpora.speech import LabeledBy
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.training.config import WorkerSettings

if TYPE_CHECKING:  # PyTorch, which settings need not wait for
    from liser_ray.finetuning.method import Method

LISTS = ("--lora.targets", "--trusted")
"""Settings of speech teachers of which there may be several values."""


@dataclass(frozen=True)
class TuneSettings:
    """What decides on the weights of any teacher, beside what it is tuned from.

    Attributes:
        epochs: at most so many passes over the training recordings.
        patience: epochs without a better UAR on the selection recordings after which training stops.
        batch_size: recordings per step, over all workers.
        learning_rate: falls linearly to 0 over all steps; in the first tenth of them it also rises, to .91 of this.
        weight_decay: of AdamW.
        class_weights: "balanced" weighs each label by the inverse of how often it occurs.
        labeled_fraction: share of the training recordings, of each label alike, that is learned or selected from, 0..1:
            those that a student with this --train.labeled_fraction learns from.
        labeled_by: "speaker" makes it a share of the training speakers, with all recordings of each.
        selection_share: part of the training recordings that picks the epoch and the temperature, 0..1.
        seed: with the fold's number of new weights, order and whatever else is drawn.
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    class_weights: Literal["none", "balanced"] = "none"
    labeled_fraction: float = 1.0
    labeled_by: LabeledBy = "recording"
    selection_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch_size) < 1:
            raise UserError("epochs, patience and batch_size must be 1 or more.")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError("learning_rate must be above 0, weight_decay 0 or more.")
        if not 0 < self.labeled_fraction <= 1:
            raise UserError(f"labeled_fraction is {self.labeled_fraction}: give a share above 0, up to 1.")
        if not 0 < self.selection_share < 1:
            raise UserError(f"selection_share is {self.selection_share}: give a share between 0 and 1, such as 0.2.")


@dataclass(frozen=True)
class TeacherConfig(WorkerSettings, ABC):
    """Tune a teacher of labels for each fold of a labeled set.

    Attributes:
        labeled: a published set (ravdess:FOLDER ...), a CSV or a Parquet file with the columns path, label, speaker and
            perhaps fold and sex; folders and files may be s3:// addresses.
        output: folder or s3:// prefix for fold-0/, fold-1/ ... and evaluation.json. The same command goes on where it
            was.
        folds: "all", or numbers such as 0,2.
        train: the training itself.
        workers: processes that share each batch of a fold (data parallel); 0: train in this process, one fold after
            the other, which spares a small model the minute in which the workers start.
        gpus_per_worker: -1: one where the cluster has any, else 0.
        cpus_per_worker: 0: one beside a GPU, else what the folds that train at once leave to each.
    """

    labeled: str = ""
    output: str = "out/teachers"
    folds: str = "all"
    train: TuneSettings = field(default_factory=TuneSettings)
    workers: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        self.check_workers(self.train.batch_size)

    @property
    def stages(self) -> int:
        """Of the training; labels are learned in the last one."""
        return 1

    @abstractmethod
    def method(self) -> "Method[Any]":
        """What is done with these settings; imports what takes seconds."""


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank updates of the attention's projections (Hu et al. 2021).

    Attributes:
        rank: of each update.
        alpha: updates are scaled by alpha / rank.
        dropout: on the input of each update, 0..1.
        targets: names of the linear layers that get one, as they end in the model.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "out_proj"])

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1 or not self.targets:
            raise UserError("LoRA needs rank >= 1, alpha > 0, dropout between 0 and 1, and at least one target.")


@dataclass(frozen=True)
class TrainSettings(TuneSettings):
    """What decides on the weights of a speech teacher, beside its base model and its data.

    Attributes:
        micro_batch_size: recordings that a worker holds at once; a larger share of a batch is taken in several
            passes whose gradients are summed.
        crop_s: recordings longer than this give a random piece of this length in each epoch, in seconds; 0.5 trains
            on windows like those the labeling job asks about.
        copies: of each training recording, each changed at random: without the silence around it, in a room, by
            telephone, compressed, clipped, in noise. What the teacher learns then holds there too.
        placebo: teach of each recording what the recipe's teachers say of another one: what helps then is not what they
            say.
        seed: with the fold's number of head, LoRA, order, crops, dropout and SpecAugment.
    """

    micro_batch_size: int = 16
    crop_s: float = 10.0
    copies: int = 0
    placebo: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.micro_batch_size < 1 or self.copies < 0:
            raise UserError("micro_batch_size must be 1 or more, copies 0 or more.")
        if self.crop_s < 0.5:
            raise UserError(f"crop_s is {self.crop_s}: give 0.5 seconds or more.")


@dataclass(frozen=True)
class FinetuneConfig(TeacherConfig):
    """Tune a pretrained speech model to label emotions, one teacher per fold.

    Attributes:
        base: pretrained speech model: a folder, s3:// or hf:// address of any that Transformers has an audio classifier
            of, such as HuBERT, WavLM, wav2vec 2.0, Whisper, AST or W2V-BERT.
        head_only: freeze the base, hear each recording once with it, and train a small head on all its layers, in place
            of LoRA: minutes where LoRA takes hours. Not used then: lora, train.crop_s and train.micro_batch_size.
        lora: the trained part of the attention.
        recipe: what the model learns from beside the labels; of a student's recipe only the loss counts. "emodistill"
            and its ablations learn from a prosodic and a linguistic teacher, "pretext-joint" by heads beside the
            classifier, which are not kept.
        distil_labeled: output of label_corpus.py of the labeled recordings themselves (--input as --labeled), by the
            teachers of the recipe.
        unlabeled: output of label_corpus.py of other recordings. A recipe in two stages ("pretext") learns what its
            teachers say of these first, for as many epochs, then labels; their sound is held in memory.
        trusted: names of targets that may teach although their teachers do not say whom they have heard.
        loss: weights and temperatures of what is learned from teachers.
        projections: sizes by name, such as {prosody: 64, words: 768}: the head is then EmoDistill's, of a projection
            for each. Where embeddings are learned they have the size of the teacher's.
        train: the training itself.
    """

    base: str = "hf://facebook/hubert-base-ls960"
    head_only: bool = False
    lora: LoraSettings = field(default_factory=LoraSettings)
    recipe: str = "no-dstl"
    distil_labeled: str = ""
    unlabeled: str = ""
    trusted: tuple[str, ...] = ()
    loss: LossConfig = field(default_factory=LossConfig)
    projections: dict[str, int] = field(default_factory=dict)
    train: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, size in self.projections.items():
            if not name.isidentifier() or size < 1:
                raise UserError(f"projections.{name} is {size}: give sizes of 1 or more, by names of targets.")

    @property
    def stages(self) -> int:
        """2 of a recipe that distils first."""
        from liser_ray.student.training.recipes import read_recipe

        return 2 if read_recipe(self.recipe).settings.get("train.two_stage") else 1

    def method(self) -> "Method[Any]":
        """LoRA's, or a head's."""
        from liser_ray.finetuning.speech import HeadMethod, LoraMethod

        return HeadMethod(self) if self.head_only else LoraMethod(self)


@dataclass(frozen=True)
class ProsodyTrainSettings(TuneSettings):
    """What decides on the weights of a prosodic teacher, beside its data.

    Attributes:
        epochs: at most so many passes over the training recordings.
        learning_rate: falls linearly to 0 over all steps; in the first tenth of them it also rises, to .91 of this.
        crop_s: recordings longer than this give a random piece of this length in each epoch, in seconds.
        dropout: of what the embedding is made of, and of the embedding, 0..1.
    """

    epochs: int = 30
    learning_rate: float = 2e-3
    crop_s: float = 2.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_s < 0.5:
            raise UserError(f"crop_s is {self.crop_s}: give 0.5 seconds or more.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}: give a share from 0 on, below 1.")


@dataclass(frozen=True)
class ProsodyConfig(TeacherConfig):
    """Train a residual network on descriptors of the voice to label emotions, one teacher per fold.

    Attributes:
        output: folder or s3:// prefix for fold-0/, fold-1/ ... and evaluation.json. The same command goes on where it
            was.
        descriptors: who computes them: "torch", this package; "opensmile", eGeMAPSv02 by openSMILE, whose package is to
            be installed for it (pip install 'liser-ray[opensmile]'), and whose licence is non-commercial.
        train: the training itself.
    """

    output: str = "out/prosody"
    descriptors: Literal["torch", "opensmile"] = "torch"
    train: ProsodyTrainSettings = field(default_factory=ProsodyTrainSettings)
    workers: int = field(default=0, kw_only=True)

    def method(self) -> "Method[Any]":
        """The prosodic teacher's."""
        from liser_ray.finetuning.prosody import ProsodyMethod

        return ProsodyMethod(self)


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
