"""Speech teachers: HuBERT and its relatives, from 0.5 s of audio to a softmax over emotions.

The paper feeds HuBERT 0.5-s pieces on purpose (section 3), so that it sees as much as the video teacher's 16 frames.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.batches import Windows, on_device
from liser_ray.teachers.speech_models import Remembering, SpeechModel, load_models
from liser_ray.training.precision import Precision, mixed

WINDOW_SAMPLES = SAMPLE_RATE_HZ // 2  # 0.5 s


class SpeechTeachers:
    """Several speech teachers on one device, asked together."""

    def __init__(self, models: Sequence[SpeechModel], device: str, precision: Precision, batch_size: int = 32):
        """Take models, at least one, that are on the device already; see `load_speech_teachers`."""
        self.teachers = tuple(models)
        self._device = torch.device(device)
        self._precision = precision
        self.batch_size = batch_size
        modules = (module for model in self.teachers for module in model.network.modules())
        self._remembering = [module for module in dict.fromkeys(modules) if isinstance(module, Remembering)]

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> dict[str, np.ndarray]:
        """Softmax of every teacher for every window.

        Args:
            windows: N of float32 [8000], 16 kHz, -1..1, as `speech_windows` cuts them.

        Returns:
            Teacher name to float32 [N, K_S]: each row sums to 1.

        Raises:
            FloatingPointError: a teacher gave logits that are not finite, named with the first such window.
        """
        found: dict[str, list[Tensor]] = {
            model.name: [torch.empty(0, len(model.labels), device=self._device)] for model in self.teachers
        }
        for batch in on_device(windows, self.batch_size, self._device):
            # One tensor per way of preparing it, so that what teachers share can see that they ask about the same.
            inputs = {False: batch, True: _zero_mean_unit_variance(batch)}
            with mixed(self._device, self._precision):
                for model in self.teachers:
                    logits = model.network(input_values=inputs[model.zero_mean_unit_variance]).logits
                    found[model.name].append(logits.float().softmax(-1))
        for module in self._remembering:
            module.forget()
        # Back to the host only here: a copy after each batch would make the GPU wait for the next one.
        softmaxes = {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}
        for name, softmax in softmaxes.items():
            bad = ~np.isfinite(softmax).all(axis=1)
            if bad.any():
                raise FloatingPointError(
                    f"speech teacher {name}: logits are not finite in {bad.sum()} of {len(bad)} windows, "
                    f"first in window {bad.argmax()}"
                )
        return softmaxes


def load_speech_teachers(
    specs: Sequence[str], device: str = "cpu", precision: Precision = "float32", batch_size: int = 32
) -> SpeechTeachers:
    """Speech teachers from whole models or PEFT adapters; adapters of one base model share its weights.

    Args:
        specs: as `read_specs` takes them. A folder with ``adapter_config.json`` is an adapter.
        device: "cpu", "cuda" or "cuda:N".
        precision: of the matrix products, where the device has it (`able_precision`).
        batch_size: windows per forward pass.

    Raises:
        UserError: a name is used twice, a folder or a weight is missing, or labels are not named.
    """
    if batch_size < 1:
        raise UserError(f"Speech batch size is {batch_size}; at least one window at a time is needed.")
    return SpeechTeachers(load_models(specs, torch.device(device)), device, precision, batch_size)


def speech_windows(pcm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut audio into windows of 0.5 s, one after the other.

    Args:
        pcm: int16 [n], 16 kHz mono.

    Returns:
        windows float32 [W, 8000], -1..1, and the start of each from the first sample, float32 [W], in seconds. Full
        windows only, so up to half a second at the end has none; audio shorter than one window gives one window filled
        up with zeros, and no audio gives none.
    """
    if 0 < len(pcm) < WINDOW_SAMPLES:
        pcm = np.pad(pcm, (0, WINDOW_SAMPLES - len(pcm)))
    n_windows = len(pcm) // WINDOW_SAMPLES
    windows = pcm[: n_windows * WINDOW_SAMPLES].reshape(n_windows, WINDOW_SAMPLES).astype(np.float32) / 32768
    return windows, np.arange(n_windows, dtype=np.float32) * np.float32(WINDOW_SAMPLES / SAMPLE_RATE_HZ)


def _zero_mean_unit_variance(windows: Tensor) -> Tensor:
    # As transformers' Wav2Vec2FeatureExtractor does it: variance over n, and 1e-7 for silence.
    variance, mean = torch.var_mean(windows, dim=1, correction=0, keepdim=True)
    return (windows - mean) / torch.sqrt(variance + 1e-7)
