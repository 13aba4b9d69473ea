"""Speech teachers: from windows of sound to softmaxes over emotions."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.batches import Windows, on_device
from liser_ray.teachers.kinds.speech import WINDOW_S, Options
from liser_ray.teachers.last_layer import LastLayer
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.speech_models import Remembering, SpeechModel, load_models
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.training.precision import Precision, mixed


class SpeechTeacher(Teacher):
    """One or more speech models on one device, asked together: a target each.

    Args:
        name: of the teacher.
        models: at least one, on the device already.
        device: where they run.
        precision: of the matrix products, where the device has it (`able_precision`).
        batch_size: windows per forward pass.
        hears_s: seconds around a window's middle that go in; 0: the window itself.
        embedding: whether what the last layer reads is given too.

    Raises:
        UserError: a model has no such layer.
    """

    def __init__(
        self,
        name: str,
        models: Sequence[SpeechModel],
        device: torch.device,
        precision: Precision,
        batch_size: int = Options.batch_size,
        hears_s: float = 0.0,
        embedding: bool = False,
    ):
        self.models = tuple(models)
        self.batch_size, self.hears_s = batch_size, hears_s
        self._layers = {model.name: _last_layer(model, device, hears_s) for model in self.models if embedding}
        sizes = {model.name: self._layers[model.name].size if embedding else 0 for model in self.models}
        self.targets = tuple(one.target(name, sizes[one.name], WINDOW_S, hears_s) for one in self.models)
        self._device, self._precision = device, precision
        self._preparations = tuple(dict.fromkeys(model.prepare for model in self.models))
        modules = (module for model in self.models for module in model.network.modules())
        self._remembering = [module for module in dict.fromkeys(modules) if isinstance(module, Remembering)]

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """Softmax, and embedding if asked for, of every model for every window.

        Args:
            windows: N of float32 [samples], 16 kHz, -1..1, as `sound_windows` cuts them.

        Returns:
            By target's name; each softmax sums to 1.

        Raises:
            FloatingPointError: a model gave logits that are not finite, named with the first such window.
        """
        found: dict[str, list[Tensor]] = {
            model.name: [torch.empty(0, len(model.labels), device=self._device)] for model in self.models
        }
        vectors = {
            name: [torch.empty(0, layer.size, dtype=torch.float16, device=self._device)]
            for name, layer in self._layers.items()
        }
        for batch in on_device(windows, self.batch_size, self._device):
            # One tensor per way of preparing it, so that what models share can see that they ask about the same.
            inputs = {prepare: prepare.windows(batch) for prepare in self._preparations}
            with mixed(self._device, self._precision):
                for model in self.models:
                    logits = model.network(**inputs[model.prepare]).logits
                    found[model.name].append(logits.float().softmax(-1))
                    if layer := self._layers.get(model.name):
                        vectors[model.name].append(layer.take().half())
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
        embeddings = {name: torch.cat(parts).cpu().numpy() for name, parts in vectors.items()}
        return {name: Answer(softmax, embeddings.get(name)) for name, softmax in softmaxes.items()}


def load_speech_teacher(name: str, options: Options, device: torch.device, precision: Precision) -> SpeechTeacher:
    """Whole models or PEFT adapters; adapters of one base model share its weights.

    A folder with ``adapter_config.json`` is an adapter. See `liser_ray.teachers.kinds.speech`.
    """
    models = load_models(expanded(name, options.weights), device, options.labels, options.trust_remote_code)
    longest_s = min(model.prepare.longest_s for model in models)
    if options.hears_s > longest_s:
        raise UserError(f"{options.weights} hears at most {longest_s:.2f} s at once, not hears_s {options.hears_s}.")
    return SpeechTeacher(name, models, device, precision, options.batch_size, options.hears_s, options.embedding)


@torch.inference_mode()
def _last_layer(model: SpeechModel, device: torch.device, hears_s: float) -> LastLayer:
    silence = torch.zeros(1, round(max(WINDOW_S, hears_s) * SAMPLE_RATE_HZ), device=device)
    return LastLayer(model.network, model.prepare.windows(silence), f"The speech teacher {model.name}")
