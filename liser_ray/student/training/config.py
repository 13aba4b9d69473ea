"""Every setting of the student's training; the defaults are the paper's (Pendyala et al. 2025)."""

from dataclasses import dataclass, field
from typing import Literal

from liser_ray.corpora.speech import LabeledBy
from liser_ray.corpora.utterance import EVERYBODY
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import TRUSTED, LossConfig, NetworkConfig
from liser_ray.training.config import WorkerSettings

Truth = Literal["label", "several", "votes"]
"""What labeled recordings teach: their label, all labels that raters often heard, or how the votes are shared."""

Distilled = Literal["unlabeled", "labeled", "both"]
"""Recordings of which a student learns what teachers say."""


Log = Literal["tensorboard", "mlflow", "wandb"]
"""Where curves are written: for TensorBoard in any case, and elsewhere besides."""


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to the segments in training; nothing by default.

    Attributes:
        band_masks: stripes of neighbouring Mel bands that are hidden in each segment (SpecAugment).
        max_bands: greatest width of such a stripe, 0..64.
        frame_masks: stripes of neighbouring frames that are hidden.
        max_frames: greatest width of such a stripe, 0..94.
        pieces: share of all segments that are cut as other recordings may be: without the silence around the
            speech, or half a second and more of it; 0..1. This, noise, babble and narrow need
            --network.normalisation speech.
        noise: share of all segments with noise of a random colour, 0 to 45 dB below them.
        babble: share of all segments in which others of the training set talk too, 0 to 30 dB below.
        narrow: share of all segments whose lowest and highest frequencies are gone.
        mixup_alpha: labeled segments and their labels are mixed in pairs, shares drawn from Beta(alpha, alpha); 0: not.
        speeds: labeled recordings are heard at these speeds, each time at a random one; above 1 is faster and higher,
            and each costs the memory of the spectrograms once more.
        copies: so many times more each labeled recording is there as if from some room, telephone or codec; each is
            made once and costs the memory of the spectrograms again.
    """

    band_masks: int = 0
    max_bands: int = 8
    frame_masks: int = 0
    max_frames: int = 12
    pieces: float = 0.0
    noise: float = 0.0
    babble: float = 0.0
    narrow: float = 0.0
    mixup_alpha: float = 0.0
    speeds: tuple[float, ...] = (1.0,)
    copies: int = 0

    def __post_init__(self) -> None:
        if min(self.band_masks, self.frame_masks, self.mixup_alpha, self.copies) < 0:
            raise UserError("band_masks, frame_masks, mixup_alpha and copies must be 0 or more.")
        if not all(0 <= share <= 1 for share in (self.pieces, self.noise, self.babble, self.narrow)):
            raise UserError("pieces, noise, babble and narrow are shares of the segments: give 0 to 1.")
        if not (0 <= self.max_bands <= 64 and 0 <= self.max_frames <= 94):
            raise UserError("max_bands must be 0 to 64 and max_frames 0 to 94: a segment has no more.")
        if not self.speeds or len(set(self.speeds)) < len(self.speeds) or not all(0.5 <= s <= 2 for s in self.speeds):
            raise UserError(
                f"speeds are {list(self.speeds)}: give different ones from 0.5 to 2, such as [0.9, 1, 1.1]."
            )


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are found.

    Attributes:
        epochs: passes over the labeled recordings with the unlabeled ones drawn beside them.
        keep: the weights of the "best" epoch by UAR on the validation speakers, or those of the "last" one, which a
            schedule that ends at 0 makes a good one; few validation speakers pick an epoch almost by chance.
        validate_every: epochs from one look at the validation speakers to the next; the last epoch is always looked at.
        batch_size: recordings per step, over all workers.
        labeled_per_batch: labeled recordings in each batch, the rest unlabeled; 0: as they come, drawn from the union.
        labeled_fraction: share of the training recordings, of each label alike, whose labels are learned, 0..1; the
            same ones with every seed, and for a teacher that finetune_speech_teacher.py tunes on this share.
        labeled_by: "speaker" makes it a share of the training speakers, with all recordings of each.
        epoch_steps: steps of an epoch; 0: as long as the pass lasts. Labels alone with as many as distillation takes
            (its students' cards have the number) tell what the teachers bring from what more steps bring.
        placebo: give each unlabeled recording what the teachers say of another one: what helps then is not what they
            know. The table has to be held in memory.
        align: make each label as frequent in what a teacher says of the unlabeled recordings as it is among the labeled
            ones (with balanced class weights all alike): to a teacher of another corpus most of it may sound fearful.
            For unlabeled recordings that have the labels about as often.
        two_stage: distil first, on unlabeled recordings alone for as many epochs, then learn from labels alone.
        learning_rate: of AdamW; the highest where a schedule lowers it.
        weight_decay: of AdamW.
        schedule: "constant", or "cosine": rising over the first twentieth of the steps, then falling to 0.
        class_weights: "balanced" weighs each label by the inverse of how often it occurs.
        truth: what a labeled recording teaches: its "label"; its "votes", how the raters' choices are shared among the
            labels (of a list with the columns votes.LABEL, or of CREMA-D); or "several", all labels with a share of
            1/K and more, which then count equally. A recording without votes teaches its label.
        ema_decay: keep a moving average of the weights with this decay per step, and score and save that; 0: not.
        augment: what is done to the segments.
    """

    epochs: int = 50
    keep: Literal["best", "last"] = "best"
    validate_every: int = 1
    batch_size: int = 25
    labeled_per_batch: int = 0
    labeled_fraction: float = 1.0
    labeled_by: LabeledBy = "recording"
    epoch_steps: int = 0
    placebo: bool = False
    align: bool = False
    two_stage: bool = False
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: Literal["constant", "cosine"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"
    truth: Truth = "label"
    ema_decay: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if min(self.epochs, self.validate_every) < 1 or self.batch_size < 2 or self.epoch_steps < 0:
            raise UserError("epochs and validate_every must be 1 or more, batch_size 2 or more, epoch_steps 0 or more.")
        if not 0 <= self.labeled_per_batch < self.batch_size:
            raise UserError(
                f"labeled_per_batch is {self.labeled_per_batch}: give 1 to {self.batch_size - 1}, so that a batch of "
                f"{self.batch_size} has room for unlabeled recordings, or 0 to draw from the union."
            )
        if not 0 < self.labeled_fraction <= 1:
            raise UserError(f"labeled_fraction is {self.labeled_fraction}: give a share above 0, up to 1.")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError("learning_rate must be above 0, weight_decay 0 or more.")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay is {self.ema_decay}: give 0 (off) to below 1, such as 0.999.")

    @property
    def stages(self) -> int:
        """1 or 2."""
        return 2 if self.two_stage else 1


@dataclass(frozen=True)
class StudentConfig(WorkerSettings):
    """Train the LiSER student on labeled speech and a labels table, one per fold and seed.

    Attributes:
        labeled: a published set (ravdess:FOLDER ...), a CSV or a Parquet file with the columns path, label, speaker and
            perhaps fold and sex; folders and files may be s3:// addresses. Of several a student learns from all, with
            the same weight for each, and is scored on each.
        unlabeled: output of label_corpus.py, a folder or s3:// prefix; not needed for recipes without teachers.
        output: folder or s3:// prefix for a folder per fold and seed, and records/. The same command goes on where it
            was.
        recipe: what the student learns from: labels alone (no-dstl), also the target called face (vid-dstl), the one
            called speech (sp-dstl), both (vid-sp-dstl), or both weighted by how sure they are (conf-vid-sp-dstl).
            "strong", alone or before these names, has other defaults of --network, --train and --loss (see
            docs/recipes.md), robust is strong for recordings that are no studio's; emodistill learns from those called
            prosody and words, and their embeddings (docs/emodistill.md); pretext from what is measured of voices and
            faces first (docs/pretext.md). Or a YAML file like those in configs/recipes.
        folds: "all", numbers such as 0,2, or "none": a student that learns from all speakers, to be used. It is not
            scored; its card has the scores of the recipe's folds in the same output.
        seeds: numbers such as 0,1,2; each gives a student per fold, of other first weights, order and crops.
        trusted: names of targets that may teach although their teachers do not say whom they have heard.
        min_teacher_uar: teachers below this UAR on speakers who did not train them are left out, 0..1; 0: none. Of a
            teacher that is several it is the mean over the folds; one that does not say how good it is stays.
        gate: teachers that are hardly better than chance on speakers who did not train them are left out, judged alike.
        min_valid: share of a teacher's window that must show the face, or be speech, for the window to count, 0..1.
        distil_labeled: output of label_corpus.py of the labeled recordings themselves (--input as --labeled): students
            learn what teachers say of these too, beside the unlabeled ones or without any.
        label_map: pairs ONE=OTHER of labels that mean the same in several labeled sets, where that is not plain.
        log: where one can watch while it trains: TensorBoard's files are always written; "mlflow" (MLFLOW_TRACKING_URI)
            and "wandb" (Weights & Biases) get the same besides, if they are installed.
        memory_gb: a labels table whose spectrograms take no more is held in memory, a larger one is streamed.
        loss: weights and distances of the loss.
        network: variants of the network.
        train: the training itself.
    """

    labeled: list[str] | str = ""
    unlabeled: str = ""
    output: str = "out/student"
    recipe: str = "conf-vid-sp-dstl"
    folds: str = "all"
    seeds: str = "0"
    trusted: tuple[str, ...] = TRUSTED
    min_teacher_uar: float = 0.0
    gate: bool = False
    min_valid: float = 0.5
    distil_labeled: str = ""
    label_map: list[str] = field(default_factory=list)
    log: Log = "tensorboard"
    memory_gb: float = 4.0
    loss: LossConfig = field(default_factory=LossConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        self.check_workers(self.train.batch_size)
        if self.memory_gb < 0:
            raise UserError(f"memory_gb is {self.memory_gb}: give 0 or more.")
        for name in ("min_valid", "min_teacher_uar"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}: give a number from 0 to 1.")
        if self.distil_labeled and self.train.augment.mixup_alpha:
            raise UserError("distil_labeled: teachers say nothing of a mixture of two recordings. Leave mixup_alpha 0.")
        if self.network.chunks and (self.train.augment.pieces or self.train.augment.babble):
            raise UserError("augment.pieces and babble are of 3-s segments: leave them 0, or network.chunks.")
        for of in ("attributes", "clusters"):
            if getattr(self.loss, of) and self.train.augment.mixup_alpha:
                raise UserError(f"loss.{of}: a mixture of two recordings has none. Leave mixup_alpha 0.")
        for option in ("two_stage", "placebo"):
            if self.distil_labeled and getattr(self.train, option):
                raise UserError(f"{option} is of unlabeled recordings alone: leave it out, or distil_labeled.")

    @property
    def distilled(self) -> Distilled:
        """Of which recordings teachers are asked, where the recipe has any."""
        if not self.distil_labeled:
            return "unlabeled"
        return "both" if self.unlabeled else "labeled"


@dataclass(frozen=True)
class RunJob:
    """Which student to train. It passes through processes that should not import PyTorch for it.

    Attributes:
        config: of the whole job.
        fold, seed: what is drawn has a seed of both (`run_seed`).
        output: folder or s3:// prefix of this run.
    """

    config: StudentConfig
    fold: int
    seed: int
    output: str

    @property
    def name(self) -> str:
        """Such as "seed-0-fold-1" or "seed-0-all"."""
        return f"seed-{self.seed}-" + ("all" if self.fold == EVERYBODY else f"fold-{self.fold}")
