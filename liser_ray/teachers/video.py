"""Video teachers: aligned face clips to one softmax per window."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

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
    "Get an S2D checkpoint fine-tuned on FERV39k (Hugging Face: cyinen/S2D, see docs/label.md) and give its path, "
    "s3:// or hf:// address with --video_teacher.weights."
)
_LANDMARK_HINT = (
    "Get S2D's landmark network (mobilefacenet_model_best.pth.tar, docs/label.md) and give its path, s3:// or hf:// "
    "address with --video_teacher.landmark_weights."
)
_LABELS_HINT = "give all their names with --video_teacher.labels"


@dataclass
class VideoTeacher:
    """A classifier of face clips, which answers each by itself, whatever the batch.

    Attributes:
        name: of its kind.
        labels: of its K outputs, in order.
        sha256: of all that decides on its numbers.
        batch_size: clips per forward pass.
        device: where it runs.
        precision: of the matrix products, where the device has it (`able_precision`).
        classify: clips uint8 [n, 16, 224, 224, 3] on the device to softmaxes float32 [n, K]; called in several threads.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    batch_size: int
    device: torch.device
    precision: Precision
    classify: Callable[[Tensor], Tensor] = field(repr=False)

    def __call__(self, clips: batches.Windows) -> np.ndarray:
        """Softmax of N clips uint8 [16, 224, 224, 3] (RGB): float32 [N, K].

        Raises:
            ValueError: if S2D is given clips of another shape or type.
        """
        found = batches.answers(self._answer, clips, self.batch_size, self.device)
        return torch.cat(found).cpu().numpy() if found else np.zeros((0, len(self.labels)), np.float32)

    def _answer(self, batch: Tensor) -> Tensor:
        with torch.inference_mode(), mixed(self.device, self.precision):
            return self.classify(batch)


def load_video_teacher(
    config: VideoTeacherConfig, device: str = "cpu", precision: Precision = "float32"
) -> VideoTeacher:
    """Fetch, check and load a teacher onto ``cpu`` or ``cuda``; only its matrix products are in the precision.

    Raises:
        UserError: weights that are missing, of another network, or whose outputs don't fit the labels.
    """
    if config.batch_size < 0:
        raise UserError("--video_teacher.batch_size must be 0 (fitted to the device) or more.")
    target = torch.device(device)
    batch_size = config.batch_size or (GPU_BATCH if target.type == "cuda" else CPU_BATCH)
    if config.kind == "static":
        from liser_ray.teachers.static import load_static  # imports Transformers, which takes seconds: S2D needs none

        return load_static(config.weights, config.labels, target, precision, batch_size)
    path, landmark_path = fetch(config.weights, _S2D_HINT), fetch(config.landmark_weights, _LANDMARK_HINT)
    checkpoint = read_checkpoint(path)
    transformer = load_s2d(checkpoint)
    n_outputs = transformer.config.num_classes
    carried, given = _carried_labels(checkpoint), config.labels
    if not given and not carried and n_outputs == len(FERV39K_LABELS):
        given = FERV39K_LABELS
    labels = agreed_labels(n_outputs, str(path), carried, given, _LABELS_HINT)
    with torch.device("meta"):
        empty = MobileFaceNet()
    landmarks = load_strictly(empty, read_checkpoint(landmark_path), "S2D's landmark network, MobileFaceNet")
    digest = f"{sha256(path)}+{sha256(landmark_path)}"
    return s2d_teacher(transformer, landmarks, labels, digest, target, precision, batch_size)


def s2d_teacher(
    transformer: VideoTransformer,
    landmarks: MobileFaceNet,
    labels: tuple[str, ...],
    sha256: str,
    device: torch.device,
    precision: Precision,
    batch_size: int,
) -> VideoTeacher:
    """S2D with its landmark network; both go to the device, and the weights of their products to the precision."""
    able = able_precision(device, precision)
    networks = transformer.to(device), landmarks.to(device)
    for module in chain.from_iterable(network.modules() for network in networks):
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(getattr(torch, able))  # once what autocast would do in each forward pass: same numbers
    expected = (transformer.config.frames, INPUT_PX, INPUT_PX, 3)

    def classify(clips: Tensor) -> Tensor:
        if clips.shape[1:] != expected or clips.dtype != torch.uint8:
            raise ValueError(f"A clip is {clips.dtype} {tuple(clips.shape[1:])}, not uint8 {expected}.")
        logits, _ = s2d_forward(*networks, clips)
        return logits.float().softmax(dim=1)

    return VideoTeacher("s2d", labels, sha256, batch_size, device, able, classify)


def s2d_forward(transformer: VideoTransformer, landmarks: MobileFaceNet, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, K] and features [N, D] of clips uint8 [N, T, 224, 224, 3] (RGB), on the networks' device.

    The landmark network is frozen: no gradient goes through it.
    """
    # Both networks take the same normalised pictures, although the landmark network was trained on others: S2D's
    # checkpoints were fitted so.
    frames = batches.standardise(batches.pictures(clips) / 255)
    with torch.no_grad():
        guidance = landmarks(frames)
    return transformer(frames.unflatten(0, clips.shape[:2]), guidance)


def _carried_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    text = checkpoint.metadata.get("labels", "[]")
    try:
        labels = json.loads(text)
    except json.JSONDecodeError:
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError(f'{checkpoint.path}: its metadata entry "labels" is no JSON list of names: {text}')
    return tuple(labels)
