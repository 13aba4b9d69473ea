"""The student's loss: equations (4) and (5) of Pendyala et al. 2025, in the precision of the logits (not half)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from liser_ray.student.attributes import concordance_loss
from liser_ray.student.config import CLUSTERS, PENALTY, SUPERVISED, Distillation, LossConfig, Scalars
from liser_ray.student.network import StudentLogits
from liser_ray.student.penalty import penalty_losses
from liser_ray.teachers.targets import Target
from liser_ray.training.distillation import (
    Distance,
    at_temperature,
    embedding_distillation,
    harmless,
    kl_distillation,
    logit_distillation,
)


def mae_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """L_sd = MAE(softmax(g_sd(s)), t_s(s)) = 1/K · Σ_k |softmax(g_sd(s))_k - t_k| for each item; L_vd alike.

    Float [N], 0..2/K, of logits and the teacher's softmaxes, float [N, K]. The mean over labels is a choice: the paper
    does not say whether it sums.
    """
    return (logits.softmax(dim=-1) - teacher).abs().mean(dim=-1)


def ce_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """CE(softmax(g_sd(s)), t_s(s)) = -Σ_k t_k · log softmax(g_sd(s))_k, likewise: the paper's ablation."""
    return -(teacher * logits.log_softmax(dim=-1)).sum(dim=-1)


DISTANCES: dict[Distillation, Distance] = {
    "mae": mae_distillation,
    "mae-sum": lambda logits, teacher: mae_distillation(logits, teacher) * teacher.shape[-1],
    "ce": ce_distillation,
    "kl": kl_distillation,
}


def huber_distance(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Of a scalar with mean 0 and deviation 1, for each item: d² / 2 where d = |g - t| is below 1, else d - 1/2.

    Float [N], of the head's outputs and the targets, float [N, 1].
    """
    return F.smooth_l1_loss(outputs, teacher, reduction="none").sum(dim=-1)


def high_low_distance(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Of a scalar of which is asked whether it is high: -t · log σ(g) - (1 - t) · log(1 - σ(g)) for each item.

    Float [N], of the head's logits and the shares of windows that are high, 0..1, float [N, 1].
    """
    return F.binary_cross_entropy_with_logits(outputs, teacher, reduction="none").sum(dim=-1)


SCALAR_DISTANCES: dict[Scalars, Distance] = {"value": huber_distance, "high-low": high_low_distance}


def confidence_weights(teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """w = max_k t_k of equation (5) for each item: the largest of a teacher's softmaxes, float [N, K] to [N], 1/K..1.

    They are taken at a temperature, as by `at_temperature`.
    """
    return at_temperature(teacher, temperature).amax(dim=-1)


class SegmentTarget(NamedTuple):
    """What a teacher says of N segments.

    Attributes:
        values: float [N, K]; anything, NaN too, where there is none.
        valid: bool [N], False where it has nothing to say of any window of the segment.
    """

    values: Tensor
    valid: Tensor


def joined(first: SegmentTarget, second: SegmentTarget) -> SegmentTarget:
    """What a teacher says of some segments and then of others, on the device of the others."""
    return SegmentTarget(*(torch.cat([one.to(two.device), two]) for one, two in zip(first, second, strict=True)))


class SetLabels(NamedTuple):
    """The labels that a labeled set has, which may be some of those that the student knows.

    Attributes:
        places: A_d, where they stand among the student's, int64 [K_d], ascending.
        weights: c_d, of each of them, float [K_d].
        costs: c_dk · P_kj of `confusion_costs`, float [K_d, K_d]; None: there is no penalty.
    """

    places: Tensor
    weights: Tensor
    costs: Tensor | None = None


_NO_ATTRIBUTES = torch.zeros(0, 0)


class Targets(NamedTuple):
    """What the items of a mini-batch should come to; its N_l labeled items stand before the N_u unlabeled ones.

    Attributes:
        truth: of the labeled items: labels int64 [N_l], or soft targets float [N_l, K_S].
        by_name: of each target (or its embedding) those of the unlabeled items, N_u, or those of all items.
        sizes: how many of the labeled items, one after the other, are of each labeled set; (): all are of one.
        attributes: of the labeled items, float [N_l, A] in the order of the config's; NaN: not known.
        clusters: pseudo-labels of all items, int64 [N_l + N_u]; None: there are none.
    """

    truth: Tensor
    by_name: Mapping[str, SegmentTarget]
    sizes: tuple[int, ...] = ()
    attributes: Tensor = _NO_ATTRIBUTES
    clusters: Tensor | None = None


def loss_terms(
    logits: StudentLogits,
    targets: Targets,
    config: LossConfig,
    teachers: Mapping[str, Target],
    sets: Sequence[SetLabels] = (),
) -> dict[str, Tensor]:
    """Sums over a mini-batch of N_l labeled and N_u unlabeled items: "supervised", and by the targets' names; λ too.

    Equation (4), without confidence:  L = [ Σ_l L_sup + Σ_u Σ_t λ_t · L_t ] / (N_l + N_u)

    Equation (5), with confidence:  L = [ Σ_l L_sup + Σ_u Σ_t λ_t · w_t · L_t ] / (N_l + N_u)

    In the paper t is the speech teacher (λ_sd, L_sd) and the video teacher (λ_vd, L_vd). L_t is one of `DISTANCES`
    where the target is a distribution, and of `SCALAR_DISTANCES`, with w_t = 1, where it is a scalar. A target without
    a head of its own is learned by the one that predicts.

    EmoDistill (Shome and Etemad 2024) is this on labeled items, with the terms of embeddings beside those of
    distributions:  L = α · L_logit + β · L_emb + γ · L_CE.  L_logit is `logit_distillation` and L_emb is
    `embedding_distillation`, each summed over both teachers; here each teacher has its own α and β, and γ is 1.

    The division is the caller's. Unlabeled items have no supervised term, and labeled ones no distillation terms,
    unless targets are given of all items: then Σ_l (L_sup + Σ_t λ_t · w_t · L_t) takes the place of Σ_l L_sup. An item
    of which a teacher has nothing to say has no term of it; it counts in N_l + N_u all the same. A term with λ = 0
    stays in the graph with gradients of zero, because data-parallel training waits for the gradient of every parameter.

    L_sup is that of `supervised_losses`. With a penalty p there is a term "penalty" of the labeled items beside it,
    Σ_l p · L_P, see `penalty_losses`; what right labels weigh (c) counts there too. The terms of attributes are those
    of `concordance_loss` times their weights, and "clusters" is the cross-entropy of all items with their
    pseudo-labels, times its weight.

    Args:
        logits: of all N_l + N_u items, labeled ones first; the heads of the targets, and the projections. Of the
            supervised head the last columns are the attributes, in the order of the config's.
        targets: of the same items.
        config: λ and temperature of each target, β of each embedding, the distance, confidence and label smoothing.
        teachers: of each target its kind, and its temperature for calibrated confidence; its values stay as they are.
        sets: the labeled sets' labels; by default there is one, which has all labels, each with the weight 1.

    Raises:
        ValueError: logits and targets are not equally many, or there are none.
    """
    n_items, n_labeled = len(logits.supervised), len(targets.truth)
    numbers = [len(one) for name in config.weights for one in targets.by_name[name]]
    if not n_items or not n_labeled <= n_items or (numbers and {*numbers} not in ({n_items}, {n_items - n_labeled})):
        raise ValueError(f"{n_items} logits for {n_labeled} labeled items and {numbers} values and marks of validity.")
    n_labels = logits.supervised.shape[1] - len(config.attributes)
    of_labels, of_attributes = logits.supervised.split([n_labels, len(config.attributes)], dim=1)
    supervised = supervised_losses(of_labels[:n_labeled], targets, sets, config.label_smoothing)
    terms = {SUPERVISED: supervised.sum()}
    if config.penalty:
        of_labeled = _of_sets(of_labels[:n_labeled], targets, sets)
        penalties = [penalty_losses(own, truth, of.costs) for of, own, truth in of_labeled if of.costs is not None]
        terms[PENALTY] = config.penalty * torch.cat(penalties).sum()
    if targets.clusters is not None:
        own = F.cross_entropy(logits.teachers[CLUSTERS], targets.clusters, reduction="sum")
        terms[CLUSTERS] = config.cluster_weight * own
    for column, (name, weight) in enumerate(config.attributes.items()):
        values = targets.attributes[:, column]
        terms[name] = weight * concordance_loss(of_attributes[:n_labeled, column], values)
    for name, weight in config.weights.items():
        outputs = logits.teachers.get(name, of_labels)[n_items - numbers[0] :]
        temperature = config.temperatures.get(name, 1.0)
        loss = target_losses(outputs, targets.by_name[name], config, teachers[name], temperature)
        terms[name] = weight * loss.sum()
    return terms


def supervised_losses(
    logits: Tensor, targets: Targets, sets: Sequence[SetLabels] = (), label_smoothing: float = 0.0
) -> Tensor:
    """L_sup of each labeled item, float [N_l], of logits float [N_l, K_S].

    Of an item s of the labeled set d, which has the labels A_d, K_d of the K_S that the student knows:

    L_sup = CE(g_sup(s), y) = -Σ_{k ∈ A_d} c_dk · y_k · log softmax_{A_d}(g_sup(s))_k

    softmax_{A_d} is over the labels A_d alone: a label that a set does not have gets no loss from its recordings, since
    nobody was asked about it there. With label smoothing ε (Szegedy et al. 2016) y_k becomes (1 - ε) · y_k + ε / K_d.
    With one set, A_d is all labels.

    Give c a mean of 1 over the training recordings to keep the balance with the distillation terms.
    """
    losses = [
        F.cross_entropy(own, truth, of.weights.to(own.dtype), reduction="none", label_smoothing=label_smoothing)
        for of, own, truth in _of_sets(logits, targets, sets)
    ]
    return torch.cat(losses)


def _of_sets(logits: Tensor, targets: Targets, sets: Sequence[SetLabels]) -> Iterator[tuple[SetLabels, Tensor, Tensor]]:
    """Of each set its labels, and its items' logits [n, K_d] and truth, int64 [n] or float [n, K_d], among these."""
    n_labels = logits.shape[1]
    one = SetLabels(torch.arange(n_labels, device=logits.device), logits.new_ones(n_labels))
    sizes = targets.sizes or (len(logits),)
    for of, own, truth in zip(sets or (one,), logits.split(sizes), targets.truth.split(sizes), strict=True):
        soft = truth.is_floating_point()
        yield of, own[:, of.places], truth[:, of.places].to(own.dtype) if soft else torch.searchsorted(of.places, truth)


def target_losses(
    outputs: Tensor, target: SegmentTarget, config: LossConfig, teacher: Target, temperature: float
) -> Tensor:
    """What is lost of a target by each item, before its weight: w · L, float [n].

    Args:
        outputs: of the head, or the projection, that learns it, float [n, K].
        target: of the same items.
        config: the distances, confidence, and whether τ² is a factor.
        teacher: the target's kind, and its temperature for calibrated confidence.
        temperature: τ.
    """
    if teacher.kind == "embedding":
        return embedding_distillation(outputs, *target)
    values = harmless(*target)
    if teacher.kind == "scalar":
        return SCALAR_DISTANCES[config.scalars](outputs, values) * target.valid
    distance, squared = DISTANCES[config.distillation], config.temperature_squared
    loss = logit_distillation(outputs, values, target.valid, temperature, squared, distance)
    if config.confidence in ("raw", "calibrated"):
        loss = loss * confidence_weights(values, teacher.temperature if config.confidence == "calibrated" else 1.0)
    return loss
