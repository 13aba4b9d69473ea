"""Settings of the student's network and of its loss; the defaults are the paper's (Pendyala et al. 2025)."""

import math
from dataclasses import dataclass, field
from typing import Literal

from liser_ray.runtime.errors import UserError
from liser_ray.student.chunks import MIN_CHUNKS
from liser_ray.teachers.targets import embedding_of

Pooling = Literal["last", "mean", "attention"]
"""How the LSTM's steps become one vector, see `liser_ray.student.network`."""

Normalisation = Literal["none", "utterance", "utterance-mean", "corpus", "speech"]
"""What gives each Mel band zero mean, and perhaps unit variance: `liser_ray.student.features.BandNormalisation`."""

UTTERANCE: tuple[Normalisation, ...] = ("utterance", "utterance-mean")
"""Those that are over whole recordings in training too; "speech" is over the 3-s segments there, after augmentation."""

OF_RECORDING: tuple[Normalisation, ...] = (*UTTERANCE, "speech")
"""Those that have to know a recording that is predicted."""

Distillation = Literal["mae", "mae-sum", "ce", "kl"]
"""Distance between a distillation head and a distribution: mean absolute error over the labels or its sum,
cross-entropy, or Kullback-Leibler divergence."""

Scalars = Literal["value", "high-low"]
"""What is learned of a scalar: its value, or whether it is high or low (`liser_ray.student.data.high_low`)."""

Heads = Literal["own", "predicting"]
"""What learns a teacher's distribution: a head of its own (LiSER), or the one that predicts (EmoDistill)."""

Confidence = Literal["recipe", "none", "raw", "calibrated"]
"""Whether a teacher's largest probability weighs its term, equation (5), or not, equation (4); "calibrated" takes it at
the temperature that was fitted for the teacher."""

SUPERVISED = "supervised"
"""The loss's term of the labels; the others are called as their targets."""

PENALTY = "penalty"
"""The loss's term of what confusions cost."""

CLUSTERS = "clusters"
"""The loss's term of pseudo-labels, and their head."""

TRUSTED = ("face",)
"""Targets whose teachers need not say whom they have heard. Those of faces learn from collections of pictures and
videos, in which nobody of a set of acted speech was ever found."""

_MOST = 1024  # filters or cells: a student is small, and a card from elsewhere shall not ask for all memory


@dataclass(frozen=True)
class NetworkConfig:
    """Variants of the student's network and of what it is fed.

    Attributes:
        pooling: over the LSTM's steps; "attention" adds a parameter for each of its outputs.
        normalisation: of the log-Mel bands, over each recording (mean and variance, or the mean alone), with the
            statistics of the training data, or over the loud frames of each recording ("speech", which hears the same
            at any loudness and whatever silence is around).
        dropout: on the pooled vector that all heads read, 0..1.
        filters: of the three convolutions.
        hidden_size: of the LSTM, in each direction.
        bidirectional: whether a second LSTM goes backwards over time, which needs pooling "mean" or "attention".
        chunks: so many chunks of a second are laid over each recording, overlapping as much as it is short, and
            attention weighs what the LSTM makes of each (`liser_ray.student.chunks`); as many as the longest recording
            has seconds. 0: none, but a 3-s segment in training and 3-s windows in prediction.
    """

    pooling: Pooling = "last"
    normalisation: Normalisation = "none"
    dropout: float = 0.0
    filters: tuple[int, int, int] = (64, 64, 64)
    hidden_size: int = 64
    bidirectional: bool = False
    chunks: int = 0

    def __post_init__(self) -> None:
        if not all(1 <= size <= _MOST for size in (*self.filters, self.hidden_size)):
            raise UserError(f"filters and hidden_size must be 1 to {_MOST}.")
        if self.bidirectional and self.pooling == "last":
            raise UserError("Of the backward LSTM the last step has heard nothing: give pooling mean or attention.")
        if self.chunks and not MIN_CHUNKS <= self.chunks <= _MOST:
            raise UserError(
                f"chunks is {self.chunks}: give {MIN_CHUNKS} or more, as many as the longest recording has seconds, or "
                "0 for none."
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}: give a share from 0 to below 1, such as 0.2.")


@dataclass(frozen=True)
class LossConfig:
    """What the student's loss is made of: equations (4) and (5), and what EmoDistill has beside them.

    Attributes:
        lambdas: weight of each target's term by the target's name, such as {speech: 5, face: 1}, the paper's λ_sd and
            λ_vd; 0 leaves it out. The recipe says which names there are, and what is not given is as there.
        distillation: distance between a distillation head and its target, where that is a distribution.
        scalars: what is learned of targets that are scalars: the "value", or "high-low", which of both it is beside
            the speaker's others (without a column speaker the recording's, without ten windows of it the table's).
        confidence: whether what a teacher is sure of counts more; as the recipe has it, or "none", "raw", or
            "calibrated", at its fitted temperature.
        label_smoothing: share of each true label that is spread evenly over all labels, 0..1.
        penalty: weight of a term that makes confusions dear which no rater of the training recordings shares, and those
            cheap that many do; 0 leaves it out. The set must have votes.
        attributes: weights of numbers that a list has of its recordings, by the names of its columns, such as {arousal:
            1}: each is learned by a head of its own, so that one minus its concordance with the truth (CCC) is small.
        clusters: how many groups of its own vectors the student makes of all recordings before each epoch, labeled or
            not, and learns which one each is in (DeepEmoCluster); 0: none. A labels table must be held in memory.
        cluster_weight: of the term of these.
        heads: what learns the targets that are distributions, each a head of its "own", or the "predicting" one, whose
            labels they must have.
        temperatures: τ of a target by its name, at which both its softmax and the student's are compared; 1 where none
            is given.
        temperature_squared: multiply a target's term by its τ².
        embeddings: weight of the negative cosine between a target's embedding and a projection of the student's, by the
            target's name; 0 leaves it out. As with λ the recipe says which names there are.
        embedding_size: dimensions that are left of an embedding, by a principal component analysis of those that the
            student learns from.
    """

    lambdas: dict[str, float] = field(default_factory=dict)
    distillation: Distillation = "mae"
    confidence: Confidence = "recipe"
    label_smoothing: float = 0.0
    penalty: float = 0.0
    attributes: dict[str, float] = field(default_factory=dict)
    clusters: int = 0
    cluster_weight: float = 1.0
    heads: Heads = "own"
    temperatures: dict[str, float] = field(default_factory=dict)
    temperature_squared: bool = False
    embeddings: dict[str, float] = field(default_factory=dict)
    embedding_size: int = 32
    scalars: Scalars = "value"

    def __post_init__(self) -> None:
        for of in ("lambdas", "embeddings", "temperatures", "attributes"):
            for name, value in getattr(self, of).items():
                if not (math.isfinite(value) and value >= 0):
                    raise UserError(
                        f"{of}.{name} is {value}: give 0 or more; LiSER's paper tries λ 0.1, 0.5, 1, 5, 10."
                    )
                if not name.isidentifier() or name in (SUPERVISED, PENALTY, CLUSTERS):
                    raise UserError(
                        f"{of}.{name}: a target's name has letters, digits and _, and is not {SUPERVISED}, {PENALTY} "
                        f"or {CLUSTERS}."
                    )
        if both := self.attributes.keys() & {*self.lambdas, *self.embeddings}:
            raise UserError(f"{min(both)} is a target and an attribute: give its column in the list another name.")
        if not all(self.temperatures.values()):
            raise UserError(f"temperatures are {self.temperatures}: give numbers above 0, such as 0.5 or 4.")
        if self.embedding_size < 1:
            raise UserError(f"embedding_size is {self.embedding_size}: give 1 or more.")
        for of in ("penalty", "cluster_weight"):
            if not (math.isfinite(getattr(self, of)) and getattr(self, of) >= 0):
                raise UserError(f"{of} is {getattr(self, of)}: give 0 or more, such as 1.")
        if self.clusters < 0 or self.clusters == 1:
            raise UserError(f"clusters is {self.clusters}: give 2 or more, such as 10, or 0 for none.")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}: give a share from 0 to below 1, such as 0.1.")

    @property
    def taught(self) -> tuple[str, ...]:
        """Names of the targets that something is learned of."""
        return tuple(dict.fromkeys([*self.lambdas, *self.embeddings]))

    @property
    def weights(self) -> dict[str, float]:
        """Of each term but that of the labels, by the name of a target or of its embedding."""
        return self.lambdas | {embedding_of(name): value for name, value in self.embeddings.items()}
