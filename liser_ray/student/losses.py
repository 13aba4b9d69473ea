"""The student's loss: equations (4) and (5) of Pendyala et al. 2025, in the precision of the logits (not half)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liser_ray.student.config import Distillation, LossConfig
from liser_ray.student.network import StudentLogits


def mae_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """L_sd = MAE(softmax(g_sd(s)), t_s(s)) = 1/K · Σ_k |softmax(g_sd(s))_k - t_k| for each item; L_vd alike.

    Float [N], 0..2/K, of logits and the teacher's softmaxes, float [N, K]. The mean over labels is a choice: the paper
    does not say whether it sums.
    """
    return (logits.softmax(dim=-1) - teacher).abs().mean(dim=-1)


def ce_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """CE(softmax(g_sd(s)), t_s(s)) = -Σ_k t_k · log softmax(g_sd(s))_k, likewise: the paper's ablation."""
    return -(teacher * logits.log_softmax(dim=-1)).sum(dim=-1)


DISTANCES: dict[Distillation, Callable[[Tensor, Tensor], Tensor]] = {"mae": mae_distillation, "ce": ce_distillation}
"""Logits and the teacher's softmaxes, float [N, K], to a distance for each item, float [N]."""


def confidence_weights(teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """w = max_k t_k of equation (5) for each item: the largest of a teacher's softmaxes, float [N, K] to [N], 1/K..1.

    The temperature is T of softmax(log(t) / T), as in `liser_ray.teachers.temperature.with_temperature`; above 1 makes
    the teacher less sure, 1 leaves it as it is.
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


def loss_terms(
    logits: StudentLogits,
    targets: Targets,
    config: LossConfig,
    class_weights: Tensor | None = None,
    speech_temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Sums over a mini-batch of N_l labeled and N_u unlabeled items, by the names of the heads; λ included.

    Equation (4), without confidence:  L = [ Σ_l L_sup + Σ_u ( λ_sd · L_sd + λ_vd · L_vd ) ] / (N_l + N_u)

    Equation (5), with confidence:  L = [ Σ_l L_sup + Σ_u ( λ_sd · w_sd · L_sd + λ_vd · w_vd · L_vd ) ] / (N_l + N_u)

    The division is the caller's. Labeled items have no distillation terms, unlabeled ones no supervised term. An item
    without a video teacher's target has no video term; it counts in N_u all the same. A term with λ = 0 stays in the
    graph with gradients of zero, because data-parallel training waits for the gradient of every parameter.

    L_sup = CE(g_sup(s), y) = -Σ_k c_k · y_k · log softmax(g_sup(s))_k. With label smoothing ε (Szegedy et al. 2016) y_k
    becomes (1 - ε) · y_k + ε / K.

    Args:
        logits: of all N_l + N_u items, labeled ones first.
        targets: of the same items.
        config: λ_sd, λ_vd, the distance, confidence and label smoothing.
        class_weights: c, float [K_S]; 1 for all by default. Give them a mean of 1 over the training recordings to keep
            the balance with the distillation terms.
        speech_temperature: of the speech teacher, for calibrated confidence (nobody fits one for the video teacher);
            the targets stay as they are.

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
    supervised = F.cross_entropy(
        logits.supervised[:n_labeled],
        targets.truth,
        class_weights,
        reduction="none",
        label_smoothing=config.label_smoothing,
    )
    # Even multiplied by zero a NaN would stay NaN, so missing targets give way to harmless ones.
    some_video = torch.where(targets.video_valid[:, None], targets.video, 1 / targets.video.shape[-1])
    temperature = speech_temperature if config.confidence == "calibrated" else 1.0
    speech = _distillation_loss(logits.speech[n_labeled:], targets.speech, config, temperature)
    video = _distillation_loss(logits.video[n_labeled:], some_video, config) * targets.video_valid
    return {
        "supervised": supervised.sum(),
        "speech": config.lambda_sd * speech.sum(),
        "video": config.lambda_vd * video.sum(),
    }


def _distillation_loss(logits: Tensor, teacher: Tensor, config: LossConfig, temperature: float = 1.0) -> Tensor:
    """A distillation term of each unlabeled item before λ: w · L, float [N_u]."""
    loss = DISTANCES[config.distillation](logits, teacher)
    return loss if config.confidence == "none" else loss * confidence_weights(teacher, temperature)
