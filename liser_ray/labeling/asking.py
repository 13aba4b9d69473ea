"""Asking a teacher about several spans at once, without one bad span costing the others."""

import logging
import os
import signal
from collections.abc import Callable, Sequence

import numpy as np
import torch

from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.teachers.batches import Windows

log = logging.getLogger(__name__)


def ask(
    teacher: Callable[[Windows], np.ndarray], inputs: Sequence[Windows], stage: Stage
) -> list[np.ndarray | Problem]:
    """A teacher's answer for each span: all windows in one call, and span by span if that fails.

    Args:
        teacher: float32 [N, K] for N windows.
        inputs: the windows of each span, W of them.
        stage: for the problem's text.

    Returns:
        For each span its rows of the answer, float32 [W, K], or why there is none.
    """
    if not inputs:
        return []
    try:
        together = teacher([window for one in inputs for window in one])
        if not np.isfinite(together).all():
            raise FloatingPointError("numbers that are not finite")
        return list(np.split(together, np.cumsum([len(one) for one in inputs])[:-1]))
    except Exception as error:  # whatever it is, it costs the spans it belongs to and not the job
        if len(inputs) == 1:
            _end_without_gpu(stage)
            log.warning("%s failed on a span: %s: %s", stage, type(error).__name__, error)
            return [Problem(stage, Reason.TEACHER_ERROR, f"{type(error).__name__}: {error}")]
        log.warning("%s failed on %d spans together (%s), asking them one by one", stage, len(inputs), error)
        return [answer for one in inputs for answer in ask(teacher, [one], stage)]


def _end_without_gpu(stage: Stage) -> None:
    """End this process if CUDA has failed for good in it (an uncorrectable error of the memory, an illegal access).

    Every later call would fail too, at once, and all spans that are left would end as failed. Ray starts another worker
    in its place and gives it the same spans.
    """
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        log.error("%s lost its GPU (%s): this worker ends, and another takes its spans", stage, error)
        os.kill(os.getpid(), signal.SIGKILL)
