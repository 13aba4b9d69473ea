"""What a student learns of its targets: their values, their embeddings, or both."""

from collections.abc import Collection, Mapping

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.teachers.targets import Target, embedding_of, target_of


def learned_targets(targets: Mapping[str, Target], loss: LossConfig) -> dict[str, Target]:
    """Targets by the names of the loss's terms: of these which the loss has, and their embeddings as targets too."""
    values = {name: targets[name] for name in loss.lambdas if name in targets}
    embeddings = {name: targets[name].of_embedding() for name in loss.embeddings if name in targets}
    return values | {embedding_of(name): target for name, target in embeddings.items()}


def aligned_targets(learned: Mapping[str, Target], labels: Collection[str]) -> dict[str, Target]:
    """Those that can be brought to the frequencies of the student's labels: distributions over these."""
    return {name: one for name, one in learned.items() if one.kind == "distribution" and set(one.labels) == set(labels)}


def own_heads(learned: Mapping[str, Target], loss: LossConfig) -> dict[str, int]:
    """How many values each target has that is learned by a head of its own, by name."""
    kinds = {"scalar"} if loss.heads == "predicting" else {"scalar", "distribution"}
    return {name: target.n_values for name, target in learned.items() if target.kind in kinds}


def refuse_unlearnable(targets: Mapping[str, Target], loss: LossConfig, labels: Collection[str]) -> None:
    """Refuse targets of which a student with these labels can't learn what the loss has.

    Raises:
        UserError: a distribution over other labels is to be learned by the head that predicts; a teacher has no
            embedding.
    """
    for name, target in learned_targets(targets, loss).items():
        if target.kind == "embedding" and not target.embedding_size:
            own = target_of(name)
            raise UserError(
                f"The table has no embedding of {targets[own].name}: label with embedding: true for its teacher (docs/"
                f"label.md), or give --loss.embeddings.{own} 0."
            )
        if target.kind == "distribution" and loss.heads == "predicting" and set(target.labels) != set(labels):
            raise UserError(
                f"The teacher of {target.name} knows the labels {', '.join(target.labels)}, but the head that predicts "
                f"has {', '.join(labels)}: give --loss.heads own, or a teacher that was tuned on the student's set."
            )
