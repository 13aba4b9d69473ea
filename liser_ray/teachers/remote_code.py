"""Speech models that bring code of their own along: it runs only where the user has said so.

What such code takes and gives follows no standard. Taken here are those that take waveforms and a mask, in this order,
and give logits, by themselves or as Transformers' models do.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput


def brings_code(folder: Path) -> bool:
    """Whether the config.json in a folder names classes of its own."""
    try:
        return bool(json.loads((folder / "config.json").read_text()).get("auto_map"))
    except (OSError, ValueError, AttributeError):
        return False  # what is wrong with it is said where it is loaded


class ForeignModel(nn.Module):
    """A model with code of its own, called as Transformers' are."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> SequenceClassifierOutput:
        """Logits [N, K] of waveforms float32 [N, samples] and a mask, 1 where they are to be heard; none: all."""
        mask = torch.ones_like(input_values) if attention_mask is None else attention_mask.to(input_values.dtype)
        found = self.model(input_values, mask)
        return SequenceClassifierOutput(logits=found if isinstance(found, Tensor) else found.logits)
