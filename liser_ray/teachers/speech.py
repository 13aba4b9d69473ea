"""Speech teachers: HuBERT and its relatives, or trained students, from 0.5 s of audio to a softmax over emotions.

The paper feeds HuBERT 0.5-s pieces on purpose (section 3), so that it sees as much as the video teacher's 16 frames.
Students hear the 3 s around a piece, since nothing shorter is like what they were trained on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.batches import Windows, on_device
from liser_ray.teachers.bundles import TeacherBundle, find_bundle, read_bundle
from liser_ray.teachers.speech_folders import ADAPTER_CONFIG, SAMPLE_RATE_HZ, STUDENTS_FOLDER, base_address
from liser_ray.teachers.speech_models import BaseModel, Remembering, adapted_model, load_base, whole_model
from liser_ray.teachers.speech_specs import read_specs
from liser_ray.training.precision import Precision, mixed

WINDOW_SAMPLES = SAMPLE_RATE_HZ // 2  # 0.5 s


@dataclass(frozen=True)
class SpeechTeacher:
    """One speech teacher.

    Attributes:
        name: its column in the labels table.
        labels: the K_S label names, in the order of the softmax.
        sha256: of its folder; for an adapter, of the hashes of its own and its base's folder, one after the other.
        model: ``model(input_values=float32 [N, hears_samples]).logits`` is [N, K_S].
        zero_mean_unit_variance: whether each window is normalised before it goes in.
        bundle: its card, if this package trained it.
        temperature: the logits are divided by it before the softmax.
        hears_samples: how much the model hears of what is around the middle of each window.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    model: nn.Module = field(repr=False)
    zero_mean_unit_variance: bool = True
    bundle: TeacherBundle | None = None
    temperature: float = 1.0
    hears_samples: int = WINDOW_SAMPLES


class SpeechTeachers:
    """Several speech teachers on one device, asked together."""

    def __init__(self, teachers: Sequence[SpeechTeacher], device: str, precision: Precision, batch_size: int = 32):
        """Take teachers whose models are on the device already; `hears_samples` is what the widest of them hears.

        Args:
            teachers: at least one.
            device: "cpu", "cuda" or "cuda:N".
            precision: of the matrix products, where the device has it (`able_precision`).
            batch_size: windows per forward pass.
        """
        self.teachers = tuple(teachers)
        self._device = torch.device(device)
        self._precision = precision
        self.batch_size = batch_size
        self.hears_samples = max((teacher.hears_samples for teacher in self.teachers), default=WINDOW_SAMPLES)
        shared = (module for teacher in self.teachers for module in teacher.model.modules())
        self._remembering = [module for module in dict.fromkeys(shared) if isinstance(module, Remembering)]

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> dict[str, np.ndarray]:
        """Softmax of every teacher for every window.

        Args:
            windows: N of float32 [n], 16 kHz, -1..1, as `speech_windows` cuts them; n at least `hears_samples`.

        Returns:
            Teacher name to float32 [N, K_S]: each row sums to 1.

        Raises:
            FloatingPointError: a teacher gave logits that are not finite, named with the first such window.
        """
        found: dict[str, list[Tensor]] = {
            teacher.name: [torch.empty(0, len(teacher.labels), device=self._device)] for teacher in self.teachers
        }
        for batch in on_device(windows, self.batch_size, self._device):
            # One tensor per way of preparing it, so that what teachers share can see that they ask about the same.
            inputs = {way: _prepared(batch, *way) for way in {_way(teacher) for teacher in self.teachers}}
            with mixed(self._device, self._precision):
                for teacher in self.teachers:
                    logits = teacher.model(input_values=inputs[_way(teacher)]).logits
                    found[teacher.name].append((logits.float() / teacher.temperature).softmax(-1))
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
    specs: Sequence[str],
    device: str = "cpu",
    precision: Precision = "float32",
    batch_size: int = 32,
    calibrated: bool = False,
) -> SpeechTeachers:
    """Speech teachers from folders, ``s3://`` or ``hf://`` addresses of whole models, PEFT adapters, or students.

    Args:
        specs: ``name=uri`` or ``uri``, see `read_specs`. A folder with ``adapter_config.json`` is an adapter; adapters
            of one base model share its weights. One with ``students`` is of `liser_ray.teachers.students`.
        device: "cpu", "cuda" or "cuda:N".
        precision: see `SpeechTeachers`.
        batch_size: windows per forward pass.
        calibrated: whether each teacher's softmax is at the temperature that its bundle has for it.

    Raises:
        UserError: a name is used twice, a folder or a weight is missing, labels are not named, or a teacher is to be
            calibrated and has no bundle.json.
    """
    if batch_size < 1:
        raise UserError(f"Speech batch size is {batch_size}; at least one window at a time is needed.")
    bases: dict[Path, tuple[BaseModel, str]] = {}
    teachers = []
    for name, uri in read_specs(specs).items():
        folder = fetch(uri)
        if (folder / STUDENTS_FOLDER).is_dir():
            teachers.append(_of_students(name, folder, device, calibrated))
            continue
        if (folder / ADAPTER_CONFIG).is_file():
            base_folder = fetch(base_address(folder)).resolve()
            if base_folder not in bases:
                bases[base_folder] = load_base(base_folder, torch.device(device)), sha256(base_folder)
            base, base_hash = bases[base_folder]
            loaded = adapted_model(base, folder)
            digest = hashlib.sha256((sha256(folder) + base_hash).encode()).hexdigest()
        else:
            loaded = whole_model(load_base(folder, torch.device(device)))
            digest = sha256(folder)
        bundle = read_bundle(str(folder)) if calibrated else find_bundle(str(folder))
        teachers.append(
            SpeechTeacher(
                name,
                loaded.labels,
                digest,
                loaded.model,
                loaded.zero_mean_unit_variance,
                bundle,
                temperature=bundle.tuning.temperature if bundle and calibrated else 1.0,
            )
        )
    return SpeechTeachers(teachers, device, precision, batch_size)


def speech_windows(pcm: np.ndarray, hears_samples: int = WINDOW_SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Cut audio into windows of 0.5 s, one after the other, with what is around them.

    Args:
        pcm: int16 [n], 16 kHz mono.
        hears_samples: length of what is cut out around the middle of each window, 8,000 or more, even.

    Returns:
        windows float32 [W, hears_samples], -1..1, with zeros before the first and after the last sample; and the start
        of each window (not of what is around it) from the first sample, float32 [W], in seconds. Full windows only, so
        up to half a second at the end has none of its own; audio shorter than one window gives one window filled up
        with zeros, and no audio gives none.
    """
    if 0 < len(pcm) < WINDOW_SAMPLES:
        pcm = np.pad(pcm, (0, WINDOW_SAMPLES - len(pcm)))
    n_windows = len(pcm) // WINDOW_SAMPLES
    starts = np.arange(n_windows, dtype=np.float32) * np.float32(WINDOW_SAMPLES / SAMPLE_RATE_HZ)
    around = np.pad(pcm, (hears_samples - WINDOW_SAMPLES) // 2)
    if not n_windows:
        return np.zeros((0, hears_samples), np.float32), starts
    windows = np.lib.stride_tricks.sliding_window_view(around, hears_samples)[::WINDOW_SAMPLES][:n_windows]
    return windows.astype(np.float32) / 32768, starts


def _of_students(name: str, folder: Path, device: str, calibrated: bool) -> SpeechTeacher:
    # The student's own packages, for those who have such a teacher.
    from liser_ray.teachers.students import HEARS_SAMPLES, load_ensemble

    bundle, ensemble = read_bundle(str(folder)), load_ensemble(folder)
    return SpeechTeacher(
        name,
        bundle.labels,
        sha256(folder),
        ensemble.to(device),
        hears_samples=HEARS_SAMPLES,
        zero_mean_unit_variance=False,
        bundle=bundle,
        temperature=bundle.tuning.temperature if calibrated else 1.0,
    )


def _way(teacher: SpeechTeacher) -> tuple[int, bool]:
    return teacher.hears_samples, teacher.zero_mean_unit_variance


def _prepared(windows: Tensor, hears_samples: int, normalised: bool) -> Tensor:
    edge = (windows.shape[1] - hears_samples) // 2
    heard = windows[:, edge : edge + hears_samples]
    return _zero_mean_unit_variance(heard) if normalised else heard


def _zero_mean_unit_variance(windows: Tensor) -> Tensor:
    # As transformers' Wav2Vec2FeatureExtractor does it: variance over n, and 1e-7 for silence.
    variance, mean = torch.var_mean(windows, dim=1, correction=0, keepdim=True)
    return (windows - mean) / torch.sqrt(variance + 1e-7)
