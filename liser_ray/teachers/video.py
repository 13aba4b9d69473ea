"""Video teachers: aligned face clips to one softmax per window."""

import json
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers import batches
from liser_ray.teachers.config import VideoTeacherConfig
from liser_ray.teachers.labels import agreed_labels
from liser_ray.teachers.mobilefacenet import MobileFaceNet
from liser_ray.teachers.s2d import INPUT_PX, VideoTransformer, load_s2d
from liser_ray.teachers.weights import Checkpoint, load_strictly, read_checkpoint
from liser_ray.training.precision import Precision, able_precision, mixed

FERV39K_LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Outputs of S2D fine-tuned on FERV39k, in order."""

GPU_BATCH, CPU_BATCH = 16, 1
"""Clips per forward pass where the settings leave it open."""

_S2D_HINT = (
    "Get an S2D checkpoint fine-tuned on FERV39k (Hugging Face: cyinen/S2D, see the README) and give its path, "
    "s3:// or hf:// address with --video_teacher.weights."
)
_LANDMARK_HINT = (
    "Get S2D's landmark network (mobilefacenet_model_best.pth.tar, see the README) and give its path, s3:// or hf:// "
    "address with --video_teacher.landmark_weights."
)
_STATIC_HINT = "Give the YAML file that describes the classifier with --video_teacher.weights."


Network = TypeVar("Network", bound=nn.Module)


class VideoTeacher(Protocol):
    """A callable with a name, the names of its outputs in order, and the hash of all that decides on its numbers.

    Its batch size is of clips in a forward pass.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    batch_size: int

    def __call__(self, clips: batches.Windows) -> np.ndarray:
        """Softmax of N clips uint8 [16, 224, 224, 3] (RGB): float32 [N, K]; each by itself, whatever the batch."""
        ...


class S2DTeacher:
    """S2D with its landmark network."""

    name = "s2d"

    def __init__(
        self,
        transformer: VideoTransformer,
        landmarks: MobileFaceNet,
        labels: tuple[str, ...],
        sha256: str,
        device: torch.device,
        precision: Precision,
        batch_size: int,
    ):
        """Take both networks over: they go to the device, and the weights of their products to the precision."""
        self.labels = labels
        self.sha256 = sha256
        self._device = device
        self._precision = able_precision(device, precision)
        self._transformer = _lowered(transformer.to(device), self._precision)
        self._landmarks = _lowered(landmarks.to(device), self._precision)
        self.batch_size = batch_size

    def __call__(self, clips: batches.Windows) -> np.ndarray:
        """See `VideoTeacher`.

        Raises:
            ValueError: if the clips have another shape or type.
        """
        expected = (self._transformer.config.frames, INPUT_PX, INPUT_PX, 3)
        for clip in clips:
            if clip.shape != expected or clip.dtype != np.uint8:
                raise ValueError(f"A clip is {clip.dtype} {clip.shape}, not uint8 {expected}.")
        found = batches.answers(self._softmax, clips, self.batch_size, self._device)
        if not found:
            return np.zeros((0, len(self.labels)), np.float32)
        return torch.cat(found).cpu().numpy()

    def _softmax(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), mixed(self._device, self._precision):
            logits, _ = s2d_forward(self._transformer, self._landmarks, batch)
            return logits.float().softmax(dim=1)


def _lowered(network: Network, precision: Precision) -> Network:
    """The network with the weights that autocast would convert in each forward pass converted once: same numbers."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(getattr(torch, precision))
    return network


def s2d_forward(
    transformer: VideoTransformer, landmarks: MobileFaceNet, clips: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, K] and features [N, D] of clips uint8 [N, T, 224, 224, 3] (RGB), on the networks' device.

    The landmark network is frozen: no gradient goes through it.
    """
    # Both networks take the same normalised pictures, although the landmark network was trained on others: S2D's
    # checkpoints were fitted so.
    frames = batches.pictures(clips) / 255
    frames = batches.normalise(frames, batches.IMAGENET_MEAN, batches.IMAGENET_STD)
    with torch.no_grad():
        guidance = landmarks(frames)
    return transformer(frames.unflatten(0, clips.shape[:2]), guidance)


def load_video_teacher(
    config: VideoTeacherConfig, device: str = "cpu", precision: Precision = "float32"
) -> VideoTeacher:
    """Fetch, check and load a teacher.

    Args:
        config: which one.
        device: ``cpu`` or ``cuda``.
        precision: of the matrix products, where the device has it (`able_precision`); sums, norms and
            softmax stay float32.

    Raises:
        UserError: weights that are missing, of another network, or whose outputs don't fit the labels.
    """
    if config.batch_size < 0:
        raise UserError("--video_teacher.batch_size must be 0 (fitted to the device) or more.")
    target = torch.device(device)
    batch_size = config.batch_size or (GPU_BATCH if target.type == "cuda" else CPU_BATCH)
    if config.kind == "static":
        from liser_ray.teachers.static import load_static  # imports Transformers, which takes seconds: S2D needs none

        description = fetch(config.weights, _STATIC_HINT)
        return load_static(description, tuple(config.labels), target, precision, batch_size, _STATIC_HINT)
    path = fetch(config.weights, _S2D_HINT)
    landmark_path = fetch(config.landmark_weights, _LANDMARK_HINT)
    checkpoint = read_checkpoint(path)
    transformer = load_s2d(checkpoint)
    n_outputs = transformer.config.num_classes
    carried = _carried_labels(checkpoint)
    given = tuple(config.labels)
    if not given and not carried and n_outputs == len(FERV39K_LABELS):
        given = FERV39K_LABELS
    with torch.device("meta"):
        empty = MobileFaceNet()
    return S2DTeacher(
        transformer=transformer,
        landmarks=load_strictly(empty, read_checkpoint(landmark_path), "S2D's landmark network, MobileFaceNet"),
        labels=agreed_labels(given, carried, n_outputs, str(path)),
        sha256=f"{sha256(path)}+{sha256(landmark_path)}",
        device=target,
        precision=precision,
        batch_size=batch_size,
    )


def _carried_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    text = checkpoint.metadata.get("labels")
    if text is None:
        return ()
    try:
        labels = json.loads(text)
    except json.JSONDecodeError:
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError(f'{checkpoint.path}: its metadata entry "labels" is no JSON list of names: {text}')
    return tuple(labels)
