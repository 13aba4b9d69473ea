"""A small S2D fitted to drawn faces: the demo's face teacher.

S2D's architecture with 2 blocks of width 96. Its landmark network has random weights, which stay as they are: there is
no pretrained one without a download, and S2D learns to read whatever features it gives.

Fitting 16 frames at a time would take sixteen times as long as one, so the network is fitted to single pictures and the
finished one has 16 frames, each with the one temporal embedding. Attention over time is the same for a picture that is
there once or sixteen times, and the clip's feature is the mean over its frames, so nothing else changes.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.demo.corpus import mouth_per_frame
from liser_ray.demo.people import EMOTIONS, FACE_LABELS, face_label, person, take_rng
from liser_ray.demo.portrait import portrait
from liser_ray.demo.voices import speak
from liser_ray.media import yuv
from liser_ray.media.clips import WINDOW_CELLS, crop_face
from liser_ray.media.detector import Face, FaceDetector
from liser_ray.media.faces import FaceConfig
from liser_ray.media.frame import SampledFrame
from liser_ray.runtime.display import Counting
from liser_ray.teachers import batches
from liser_ray.teachers.mobilefacenet import MobileFaceNet, new_mobilefacenet
from liser_ray.teachers.s2d import PATCH_PX, S2DConfig, VideoTransformer, save_s2d
from liser_ray.teachers.weights import save_checkpoint
from liser_ray.training.fit import FitSettings, Losses, ProcessGroup, Step, Training
from liser_ray.training.precision import Precision

_CONFIG = S2DConfig(embed_dim=96, depth=2, heads=4, frames=1, num_classes=len(FACE_LABELS))
_TAKE_S = 1.6
_PICTURES = 4  # drawn per take
_BATCH = 8
_LEARNING_RATE = 1e-3
_MATRIX_LEARNING_RATE = 0.02


def fit_face_teacher(weights: Path, landmark_weights: Path, seed: int, speakers: int, epochs: int) -> None:
    """Fit a teacher to so many speakers, each with each emotion, and write its two safetensors; S2D's has the labels.

    None of the speakers is in a demo corpus.
    """
    crops, labels = drawn_crops(seed, speakers)
    landmarks = _settled(new_mobilefacenet(seed), crops)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _new_network(crops)
        with torch.inference_mode():
            guidance = torch.cat([landmarks(_normalised(part)) for part in crops.split(_BATCH)])
        _fit(_Pictures(network, guidance, crops, labels), epochs, seed)
    save_s2d(weights, with_frames(network, WINDOW_CELLS), FACE_LABELS)
    save_checkpoint(landmark_weights, landmarks.state_dict())


def drawn_crops(seed: int, speakers: int) -> tuple[Tensor, Tensor]:
    """Faces of the teacher's own speakers, detected and cut out as the media stage does it.

    Returns:
        uint8 [n, 224, 224, 3] RGB and int64 [n], indices of `FACE_LABELS`.
    """
    portrait()  # before the threads, which would each make their own
    own = threading.local()

    def crops_of(number: int) -> list[tuple[np.ndarray, int]]:
        if not hasattr(own, "detector"):
            own.detector = FaceDetector("opencv")  # a cascade keeps state: one for each thread
        return [crop for emotion in EMOTIONS for crop in _crops_of(seed, number, emotion, own.detector)]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = list(chain.from_iterable(pool.map(crops_of, range(speakers))))
    return torch.from_numpy(np.stack([crop for crop, _ in pairs])), torch.tensor([label for _, label in pairs])


def _crops_of(seed: int, number: int, emotion: str, detector: FaceDetector) -> list[tuple[np.ndarray, int]]:
    """Some pictures of one take; none if no face is found in the first."""
    someone = person(seed, "face_teacher", number)
    rng = take_rng(seed, "face_teacher", number, 1 + EMOTIONS.index(emotion))
    rate_hz = _PICTURES / _TAKE_S
    mouth = mouth_per_frame(speak(someone.voice, emotion, _TAKE_S, rng), _TAKE_S, rate_hz)
    frames = [
        SampledFrame(at, 1, av.VideoFrame.from_ndarray(rgb, format="rgb24"))
        for at, rgb in enumerate(someone.face.frames(emotion, mouth, rate_hz, rng))
    ]
    label, margin = FACE_LABELS.index(face_label(emotion)), FaceConfig().margin
    return [
        (yuv.rgb(crop_face(frame, _moved(face, rng), margin)), label)
        for face in detector(frames[0])[:1]
        for frame in frames
    ]


def _moved(face: Face, rng: np.random.Generator) -> Face:
    """About as far off as the detector is from one picture to the next; detecting costs ten times what drawing does."""
    grown = face.width * rng.normal(0, 0.03)
    x = face.x - grown / 2 + face.width * rng.normal(0, 0.015)
    y = face.y - grown / 2 + face.width * rng.normal(0, 0.015)
    return Face(x, y, face.width + grown, face.height + grown, face.eyes)


def _new_network(crops: Tensor) -> VideoTransformer:
    """Random weights that suit a short fit of a narrow network.

    S2D's own initial weights suit a width of 768 and hours of training on top of a pretrained transformer. Here weights
    are larger, positions differ from the start, the prompters begin quietly, and the patch projection gives the
    patches' principal components, all of the same variance: the lines of a brow count as much as the colour of the
    skin.
    """
    network = VideoTransformer(_CONFIG)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_CONFIG.embed_dim**-0.5)
    nn.init.normal_(network.pos_embed)
    for name, parameter in network.named_parameters():
        if name.endswith(("conv1x1.weight", "S_Adapter.D_fc2.weight")):
            parameter.data.mul_(0.1)
    nn.init.trunc_normal_(network.get_parameter("head.fc_cls.weight"), std=0.02)
    patches = F.unfold(_normalised(crops[::8]), PATCH_PX, stride=PATCH_PX).transpose(1, 2).flatten(0, 1)
    variances, components = torch.linalg.eigh(torch.cov(patches.T))
    kept = slice(-_CONFIG.embed_dim, None)
    projection = components[:, kept].T / (variances[kept, None] + 0.02).sqrt()
    projected = network.get_parameter("patch_embed.proj.weight")
    projected.data.copy_(projection.view_as(projected))
    network.get_parameter("patch_embed.proj.bias").data.copy_(-projection @ patches.mean(0))
    return network


def with_frames(network: VideoTransformer, frames: int) -> VideoTransformer:
    """The same network for clips of more frames: each temporal embedding is repeated."""
    tensors = network.state_dict()
    repeats = frames // network.config.frames
    tensors["temporal_embedding"] = tensors["temporal_embedding"].repeat_interleave(repeats, dim=1)
    longer = VideoTransformer(replace(network.config, frames=frames))
    longer.load_state_dict(tensors)
    return longer.eval()


def _settled(landmarks: MobileFaceNet, crops: Tensor) -> MobileFaceNet:
    """The random network with batch norms that have seen faces: without that its features all but vanish."""
    for module in landmarks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain mean over what they see
    landmarks.train()
    with torch.no_grad():
        landmarks(_normalised(crops[:: max(1, len(crops) // 64)]))
    return landmarks.eval()


def _normalised(crops: Tensor) -> Tensor:
    """uint8 [N, 224, 224, 3] to float32 [N, 3, 224, 224] as S2D takes it."""
    return batches.standardise(batches.pictures(crops[:, None]))


@dataclass
class _Pictures:
    """The fit as a task: single pictures, whose landmark features are there already."""

    model: VideoTransformer
    guidance: Tensor
    crops: Tensor
    labels: Tensor

    def n_steps(self, epoch: int) -> int:
        return -(-len(self.crops) // _BATCH)

    def steps(self, epoch: int) -> Iterator[Step]:
        for batch in torch.randperm(len(self.crops)).split(_BATCH):
            yield Step([batch], len(batch))

    def losses(self, forward: Callable[..., Any], part: Tensor) -> Losses:
        logits, _ = forward(_normalised(self.crops[part])[:, None], self.guidance[part])
        loss = F.cross_entropy(logits, self.labels[part], label_smoothing=0.05, reduction="sum")
        return Losses({"loss": loss})

    def validate(self, model: nn.Module, precision: Precision) -> None:
        return None


def _fit(task: _Pictures, epochs: int, seed: int) -> None:
    settings = FitSettings(epochs, _LEARNING_RATE, schedule="cosine", warm_up=0.15, keep="last")
    group, optimizers = ProcessGroup(task.crops.device), _optimizers(task.model)
    training = Training(task, settings, seed, group, optimizers=optimizers)
    with Counting("steps of the face teacher", training.steps(epochs)) as counting:
        training.run(lambda score: None, lambda done: counting.show(done, training.line))


def _optimizers(network: VideoTransformer) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for all else: in a few hundred steps AdamW alone learns half."""
    inner = {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.ndim == 2 and name.startswith(("blocks.", "prompt_blocks."))
    }
    others = [parameter for name, parameter in network.named_parameters() if name not in inner]
    return [
        torch.optim.Muon(inner.values(), lr=_MATRIX_LEARNING_RATE, weight_decay=0.05, momentum=0.9),
        torch.optim.AdamW(others, lr=_LEARNING_RATE, weight_decay=0.05),
    ]
