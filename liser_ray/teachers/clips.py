"""Teachers of face clips: one softmax for each."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.teachers import batches
from liser_ray.teachers.targets import Takes, Target, TargetKind, TunedOn
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.training.precision import Precision, mixed

CLIP_S = WINDOW_CELLS / FRAME_RATE_HZ
GPU_BATCH, CPU_BATCH = 16, 1
"""Clips per forward pass where the settings leave it open."""


class ClipTeacher(Teacher):
    """A classifier of face clips, which answers each by itself, whatever the batch.

    Args:
        name: of the teacher and its target.
        labels: of its K outputs, in order.
        sha256: of all that decides on its numbers.
        batch_size: clips per forward pass; 0: fitted to the device.
        device: where it runs.
        precision: of the matrix products, where the device has it (`able_precision`).
        classify: clips uint8 [n, 16, 224, 224, 3] (RGB) on the device to float32 [n, K], softmaxes where the target is
            a distribution; called in several threads.
        kind, tuned_on: of the target.
    """

    takes: ClassVar[Takes] = "clips"

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        sha256: str,
        batch_size: int,
        device: torch.device,
        precision: Precision,
        classify: Callable[[Tensor], Tensor],
        kind: TargetKind = "distribution",
        tuned_on: TunedOn | None = None,
    ):
        self.targets = (Target(name, kind, labels, CLIP_S, CLIP_S, sha256, name, tuned_on=tuned_on),)
        self.batch_size = batch_size or (GPU_BATCH if device.type == "cuda" else CPU_BATCH)
        self._device, self._precision, self._classify = device, precision, classify

    def __call__(self, windows: batches.Windows) -> dict[str, Answer]:
        """Softmax of N clips, packed uint8 [16, 337, 224] (`liser_ray.media.yuv`) or RGB uint8 [16, 224, 224, 3].

        Raises:
            ValueError: if S2D is given clips of another shape or type.
        """
        (target,) = self.targets
        found = batches.answers(self._answer, windows, self.batch_size, self._device)
        softmax = torch.cat(found).cpu().numpy() if found else np.zeros((0, len(target.labels)), np.float32)
        return {target.name: Answer(softmax)}

    def _answer(self, batch: Tensor) -> Tensor:
        with torch.inference_mode():
            clips = batches.as_rgb(batches.without_gaps(batch))
            with mixed(self._device, self._precision):
                return self._classify(clips)
