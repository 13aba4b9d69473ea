"""The student's loss: equations (4) and (5) of Pendyala et al. 2025, and what they are made of.

Every loss is per item; `loss_terms` sums. Logits should be float32 (or float64): cast those of a
half-precision network first.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from liser_ray.student.config import LossConfig
from liser_ray.student.network import StudentLogits


def supervised_loss(
    logits: Tensor, truth: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """L_sup = CE(g_sup(s), y) = -Σ_k c_k · y_k · log softmax(g_sup(s))_k for each item, float [N].

    With label smoothing ε (Szegedy et al. 2016) y_k becomes (1 - ε) · y_k + ε / K.

    Args:
        logits: float [N, K_S], g_sup(s).
        truth: y: labels int64 [N], 0..K_S-1, or soft targets float [N, K_S] whose rows sum to 1 (`mixup`).
        label_smoothing: ε, 0..1.
        class_weights: c, float [K_S]; 1 for all by default. Give them a mean of 1 over the training recordings to keep
            the balance with the distillation terms.
    """
    return F.cross_entropy(logits, truth, weight=class_weights, label_smoothing=label_smoothing, reduction="none")


def mae_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """L_sd = MAE(softmax(g_sd(s)), t_s(s)) = 1/K · Σ_k |softmax(g_sd(s))_k - t_k| for each item; L_vd alike.

    The mean over labels is a choice: the paper does not say whether it sums.

    Args:
        logits: float [N, K], of a distillation head.
        teacher: float [N, K], t, softmaxes of the teacher.

    Returns:
        Float [N], 0..2/K.
    """
    return (logits.softmax(dim=-1) - teacher).abs().mean(dim=-1)


def ce_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """CE(softmax(g_sd(s)), t_s(s)) = -Σ_k t_k · log softmax(g_sd(s))_k for each item: the paper's ablation.

    Args:
        logits: float [N, K], of a distillation head.
        teacher: float [N, K], t, softmaxes of the teacher.

    Returns:
        Float [N], not below the entropy of t.
    """
    return -(teacher * logits.log_softmax(dim=-1)).sum(dim=-1)


def confidence_weights(teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """w = max_k t_k of equation (5) for each item: the teacher's largest softmax probability.

    Args:
        teacher: float [N, K], softmaxes of the teacher.
        temperature: T of softmax(log(t) / T), as in `liser_ray.teachers.temperature.with_temperature`; above 1 makes
            the teacher less sure, 1 leaves it as it is.

    Returns:
        Float [N], 1/K..1.
    """
    smallest = torch.finfo(torch.float32).tiny  # the logarithm of 0 would be infinite
    return (teacher.clamp(min=smallest).log() / temperature).softmax(dim=-1).amax(dim=-1)


@dataclass(frozen=True)
class Targets:
    """What the items of a mini-batch should come to; its N_l labeled items stand before the N_u unlabeled ones.

    Attributes:
        truth: of the labeled items: labels int64 [N_l], or soft targets float [N_l, K_S].
        speech: of the unlabeled items: mean softmax of the speech teacher, float [N_u, K_S].
        video: of the unlabeled items: mean softmax of the video teacher, float [N_u, K_V]; anything, NaN too, where
            there is none.
        video_valid: bool [N_u], False where no window of the segment shows the face.
    """

    truth: Tensor
    speech: Tensor
    video: Tensor
    video_valid: Tensor


class Temperatures(NamedTuple):
    """Fitted temperatures of the teachers, at which confidence is "calibrated"; 1 where none was fitted."""

    speech: float = 1.0
    video: float = 1.0


def loss_terms(
    logits: StudentLogits,
    targets: Targets,
    config: LossConfig,
    class_weights: Tensor | None = None,
    temperatures: Temperatures | None = None,
) -> dict[str, Tensor]:
    """Sums over a mini-batch of N_l labeled and N_u unlabeled items, by the names of the heads; λ included.

    Equation (4), without confidence:  L = [ Σ_l L_sup + Σ_u ( λ_sd · L_sd + λ_vd · L_vd ) ] / (N_l + N_u)

    Equation (5), with confidence:  L = [ Σ_l L_sup + Σ_u ( λ_sd · w_sd · L_sd + λ_vd · w_vd · L_vd ) ] / (N_l + N_u)

    The division is the caller's. Labeled items have no distillation terms, unlabeled ones no supervised term. An item
    without a video teacher's target has no video term; it counts in N_u all the same. A term with λ = 0 stays in the
    graph with gradients of zero, because data-parallel training waits for the gradient of every parameter.

    Args:
        logits: of all N_l + N_u items, labeled ones first.
        targets: of the same items.
        config: λ_sd, λ_vd, the distance, confidence and label smoothing.
        class_weights: float [K_S], see `supervised_loss`.
        temperatures: of the teachers, for calibrated confidence; the targets stay as they are.

    Raises:
        ValueError: logits and targets are not equally many, or there are none.
    """
    n_labeled, n_unlabeled = len(targets.truth), len(targets.speech)
    n_items = n_labeled + n_unlabeled
    if not n_items == len(logits.supervised) > 0 or not n_unlabeled == len(targets.video) == len(targets.video_valid):
        raise ValueError(
            f"{len(logits.supervised)} logits for {n_labeled} labeled and {n_unlabeled} unlabeled items, with "
            f"{len(targets.video)} video targets and {len(targets.video_valid)} marks of validity."
        )
    smoothing = config.label_smoothing
    supervised = supervised_loss(logits.supervised[:n_labeled], targets.truth, smoothing, class_weights)
    # Even multiplied by zero a NaN would stay NaN, so missing targets give way to harmless ones.
    some_video = torch.where(targets.video_valid[:, None], targets.video, 1 / targets.video.shape[-1])
    sure = temperatures if temperatures and config.confidence == "calibrated" else Temperatures()
    speech = _distillation_loss(logits.speech[n_labeled:], targets.speech, config, sure.speech)
    video = _distillation_loss(logits.video[n_labeled:], some_video, config, sure.video) * targets.video_valid
    return {
        "supervised": supervised.sum(),
        "speech": config.lambda_sd * speech.sum(),
        "video": config.lambda_vd * video.sum(),
    }


def _distillation_loss(logits: Tensor, teacher: Tensor, config: LossConfig, temperature: float) -> Tensor:
    """A distillation term of each unlabeled item before λ: w · L, float [N_u]."""
    distance = mae_distillation if config.distillation == "mae" else ce_distillation
    loss = distance(logits, teacher)
    return loss if config.confidence == "none" else loss * confidence_weights(teacher, temperature)
