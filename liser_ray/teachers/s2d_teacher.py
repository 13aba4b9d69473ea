"""S2D and its landmark network as a teacher of face clips."""

from itertools import chain

import torch
from torch import Tensor, nn

from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers import batches
from liser_ray.teachers.clips import ClipTeacher
from liser_ray.teachers.kinds.s2d import Options
from liser_ray.teachers.labels import agreed_labels, labels_of_checkpoint
from liser_ray.teachers.mobilefacenet import LANDMARK_HINT, MobileFaceNet, load_mobilefacenet
from liser_ray.teachers.s2d import INPUT_PX, VideoTransformer, load_s2d
from liser_ray.teachers.weights import read_checkpoint
from liser_ray.training.precision import Precision, able_precision

FERV39K_LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Outputs of S2D fine-tuned on FERV39k, in order."""

_S2D_HINT = (
    "Get an S2D checkpoint fine-tuned on FERV39k (Hugging Face: cyinen/S2D, see docs/label.md) and give its path, "
    "s3:// or hf:// address: face=s2d:S2D_WEIGHTS,LANDMARK_WEIGHTS."
)
_LANDMARK_HINT = f"{LANDMARK_HINT} face=s2d:S2D_WEIGHTS,LANDMARK_WEIGHTS."
_LABELS_HINT = "give all their names as the teacher's labels"


def load_s2d_teacher(name: str, options: Options, device: torch.device, precision: Precision) -> ClipTeacher:
    """Fetch, check and load S2D; only its matrix products are in the precision. See `liser_ray.teachers.kinds.s2d`."""
    path, landmark_path = fetch(options.weights, _S2D_HINT), fetch(options.landmark_weights, _LANDMARK_HINT)
    checkpoint = read_checkpoint(path)
    transformer = load_s2d(checkpoint)
    n_outputs = transformer.config.num_classes
    carried, given = labels_of_checkpoint(checkpoint), options.labels
    if not given and not carried and n_outputs == len(FERV39K_LABELS):
        given = FERV39K_LABELS
    labels = agreed_labels(n_outputs, str(path), carried, given, _LABELS_HINT)
    landmarks = load_mobilefacenet(landmark_path)
    digest = f"{sha256(path)}+{sha256(landmark_path)}"
    return s2d_teacher(name, transformer, landmarks, labels, digest, device, precision, options.batch_size)


def s2d_teacher(
    name: str,
    transformer: VideoTransformer,
    landmarks: MobileFaceNet,
    labels: tuple[str, ...],
    sha256: str,
    device: torch.device,
    precision: Precision,
    batch_size: int,
) -> ClipTeacher:
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

    return ClipTeacher(name, labels, sha256, batch_size, device, able, classify)


def s2d_forward(transformer: VideoTransformer, landmarks: MobileFaceNet, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, K] and features [N, D] of clips uint8 [N, T, 224, 224, 3] (RGB), on the networks' device.

    The landmark network is frozen: no gradient goes through it.
    """
    # Both networks take the same normalised pictures, although the landmark network was trained on others: S2D's
    # checkpoints were fitted so.
    frames = batches.standardise(batches.pictures(clips))
    with torch.no_grad():
        guidance = landmarks(frames)
    return transformer(frames.unflatten(0, clips.shape[:2]), guidance)
