"""What is lost where a student says something else than its teacher, for each item; for students of any size.

Shome and Etemad 2024 (EmoDistill) distil on two levels from each of their teachers: logits and embeddings. Stated there
are the divergence of softmaxes at a temperature of the teacher's own, and the negative cosine. Ours are the direction
KL(teacher || student) and that the factor τ² (Hinton et al. 2015) is left out unless asked for.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""Logits and the teacher's softmaxes, float [N, K], to a distance for each item, float [N]."""


def kl_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL(t || softmax(g)) = Σ_k t_k · (log t_k - log softmax(g)_k) for each item: cross-entropy that can come to 0.

    Float [N], 0 or more, of logits and the teacher's softmaxes, float [N, K].
    """
    return F.kl_div(logits.log_softmax(dim=-1), teacher, reduction="none").sum(dim=-1)


def at_temperature(teacher: Tensor, temperature: float) -> Tensor:
    """softmax(log(t) / τ) of softmaxes t, float [N, K]: what the teacher's own logits give at the temperature τ.

    Above 1 it makes the teacher less sure. As `liser_ray.teachers.temperature.with_temperature`.
    """
    smallest = torch.finfo(torch.float32).tiny  # the logarithm of 0 would be infinite
    return (teacher.clamp(min=smallest).log() / temperature).softmax(dim=-1)


def logit_distillation(
    logits: Tensor,
    teacher: Tensor,
    valid: Tensor,
    temperature: float = 1.0,
    squared: bool = False,
    distance: Distance = kl_distillation,
) -> Tensor:
    """L_logit of one teacher: D(softmax(log(t) / τ), softmax(g / τ)) for each item, float [N], D the divergence KL.

    Where the teacher has nothing to say the loss and its gradient are exactly 0.

    Args:
        logits: g, float [N, K].
        teacher: t, its softmaxes, float [N, K]; anything, NaN too, where they are not valid.
        valid: bool [N], whether the teacher has something to say.
        temperature: τ of this teacher, above 0; 1 leaves both as they are.
        squared: whether the loss is multiplied by τ², so that its gradient does not shrink as τ rises.
        distance: D.
    """
    teacher = harmless(teacher, valid)
    if temperature != 1:
        logits, teacher = logits / temperature, at_temperature(teacher, temperature)
    return distance(logits, teacher) * (temperature**2 if squared else 1) * valid


def embedding_distillation(projected: Tensor, embedding: Tensor, valid: Tensor) -> Tensor:
    """L_emb of one teacher: -cos(p, e) = -p·e / (|p| |e|) for each item, float [N], -1 (the same direction) to 1.

    Where the teacher has nothing to say the loss and its gradient are exactly 0.

    Args:
        projected: p, the student's, float [N, D].
        embedding: e, the teacher's, float [N, D]; anything, NaN too, where it is not valid.
        valid: bool [N], whether the teacher has something to say.
    """
    return -F.cosine_similarity(projected, harmless(embedding, valid), dim=-1) * valid


def harmless(values: Tensor, valid: Tensor) -> Tensor:
    """Values float [N, K], and 1/K where they are not valid: even multiplied by zero a NaN would stay NaN."""
    return torch.where(valid[:, None], values, 1 / values.shape[-1])
