"""A classifier of face pictures as a teacher of clips: each frame by itself, softmaxes averaged over the window."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jsonargparse
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from transformers import AutoModelForImageClassification

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers import batches
from liser_ray.teachers.clips import ClipTeacher
from liser_ray.teachers.kinds import heard_beside
from liser_ray.teachers.kinds.face import Options
from liser_ray.teachers.labels import agreed_labels, labels_of_config
from liser_ray.teachers.transformers_folders import read_classifier, refuse_other_tasks
from liser_ray.teachers.weights import listed
from liser_ray.training.precision import Precision

log = logging.getLogger(__name__)

FrameNetwork = Callable[[Tensor], Tensor]
"""Float32 frames [N, C, H, W] on the device, preprocessed, to the network's outputs [N, K], there or on the CPU."""

_HINT = "Give the YAML file that describes the classifier: face=face:classifier.yaml (see docs/label.md)."
_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV and Pillow weigh them


@dataclass(frozen=True)
class FaceModel:
    """What the YAML file of a face teacher says.

    Attributes:
        weights: an ONNX file, or a folder that Transformers' AutoModelForImageClassification loads; a path (relative to
            the YAML file), s3:// or hf:// address.
        labels: names of the outputs, in order; may be left out for a folder whose config.json names them.
        input_px: height and width of the network's input in pixels.
        mean: subtracted per channel, 0..``pixel_max``.
        std: divided by per channel, on the same scale.
        pixel_max: value of a white pixel before ``mean`` and ``std``: 1 or 255 in nearly all models.
        channels: order of the channels.
        layout: order of the axes (ONNX only).
        output: whether the network's last layer is a softmax already.
    """

    weights: str
    labels: tuple[str, ...] = ()
    input_px: int = 224
    mean: tuple[float, ...] = batches.IMAGENET_MEAN
    std: tuple[float, ...] = batches.IMAGENET_STD
    pixel_max: float = 1.0
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    output: Literal["logits", "probabilities"] = "logits"


def prepare(clips: Tensor, model: FaceModel) -> Tensor:
    """uint8 [N, T, H, W, 3] (RGB) to what the network takes: float32 [N * T, C, input_px, input_px]."""
    frames = batches.pictures(clips)
    if frames.shape[2:] != (model.input_px, model.input_px):
        size = (model.input_px, model.input_px)
        # Antialiased, as Pillow and torchvision scale the pictures that such networks are trained on.
        frames = F.interpolate(frames.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    if model.channels == "bgr":
        frames = frames.flip(1)
    elif model.channels == "gray":
        frames = (frames * torch.tensor(_GRAY, device=frames.device)[:, None, None]).sum(dim=1, keepdim=True)
    return batches.standardise(frames, model.mean, model.std, model.pixel_max)


def load_face_teacher(name: str, options: Options, device: torch.device, precision: Precision) -> ClipTeacher:
    """The teacher that a YAML file with the fields of `FaceModel` describes. See `liser_ray.teachers.kinds.face`."""
    description = fetch(options.weights, _HINT)
    model = read_description(description)
    weights = weights_beside(description, model)
    path = fetch(weights, _HINT)
    network, carried = _load_transformers(path, device) if path.is_dir() else (load_onnx(path, model, device), ())

    def classify(clips: Tensor) -> Tensor:
        outputs = network(prepare(clips, model)).float()
        probabilities = outputs if model.output == "probabilities" else outputs.softmax(dim=1)
        return probabilities.view(*clips.shape[:2], -1).mean(dim=1)

    n_outputs = _count_outputs(network, model, device, path)
    named = agreed_labels(n_outputs, str(path), carried, model.labels, f"give labels: [...] in {description}")
    # What is said beside the description counts where nothing is said beside the weights, which may lie elsewhere.
    return ClipTeacher(
        name,
        labels=agreed_labels(n_outputs, str(description), named, options.labels),
        # The preprocessing decides on the numbers as the weights do.
        sha256=f"{sha256(path)}+{sha256(description)}",
        batch_size=options.batch_size,
        device=device,
        precision=precision,
        classify=classify,
        tuned_on=heard_beside(weights),
    )


def weights_beside(description: Path, model: FaceModel) -> str:
    """The address of the weights: a path is relative to the YAML file."""
    return model.weights if "://" in model.weights else str(description.parent / Path(model.weights).expanduser())


def read_description(path: Path) -> FaceModel:
    """What the YAML file says; UserError if that is not a face teacher."""
    if path.is_dir():
        found = ", ".join(sorted(one.name for one in path.iterdir() if one.suffix in (".yaml", ".yml"))) or "none"
        raise UserError(f"{path} is a folder: give the YAML file in it. YAML files there: {found}. {_HINT}")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(FaceModel)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError(f"{path}: give the fields of a face teacher: weights, labels, input_px, ...")
        model = FaceModel(**parser.parse_object(content).as_dict())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, jsonargparse.ArgumentError) as error:
        raise UserError(f"{path} does not describe a face teacher: {error}") from error
    n_channels = 1 if model.channels == "gray" else 3
    if len(model.mean) != n_channels or len(model.std) != n_channels:
        raise UserError(f"{path}: mean and std need {n_channels} number(s) each for channels: {model.channels}.")
    if model.input_px < 1 or model.pixel_max <= 0 or min(model.std) <= 0:
        raise UserError(f"{path}: input_px, pixel_max and std must be positive.")
    return model


def _load_transformers(folder: Path, device: torch.device) -> tuple[FrameNetwork, tuple[str, ...]]:
    network, missing, _ = read_classifier(AutoModelForImageClassification, folder, "an image classifier", device)
    if missing:
        raise UserError(f"{folder} lacks weights of its own classifier: {listed(missing)}.")
    refuse_other_tasks(network, str(folder))
    return lambda frames: network(pixel_values=frames).logits, labels_of_config(network.config.id2label)


def load_onnx(path: Path, model: FaceModel, device: torch.device) -> FrameNetwork:
    """The network of an ONNX file, on the GPU if onnxruntime can; UserError if it is none of pictures."""
    options = onnxruntime.SessionOptions()
    # Its own default is all cores, in every worker of a pool.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        else:
            log.warning(
                "onnxruntime can't use the GPU, so %s runs on %d thread(s) of the CPU beside it: install "
                "onnxruntime-gpu, or give its teacher all cores and no GPU (teacher_pools.NAME.num_gpus 0).",
                path,
                options.intra_op_num_threads,
            )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own classes have no common base but this
        raise UserError(f"{path} is no ONNX file that onnxruntime can run: {error}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(f"{path} takes {len(inputs)} inputs; an image classifier takes one.")
    batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None

    def run(frames: Tensor) -> Tensor:
        array = frames.cpu().numpy()
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1) if model.layout == "nhwc" else array)
        pieces = [array] if batch is None else [array[i : i + batch] for i in range(0, len(array), batch)]
        return torch.from_numpy(np.concatenate([session.run(None, {inputs[0].name: one})[0] for one in pieces]))

    return run


def _count_outputs(network: FrameNetwork, model: FaceModel, device: torch.device, path: Path) -> int:
    """Number of outputs, found by running two frames, which also shows that the description fits the network."""
    frames = torch.full((1, 2, 224, 224, 3), 128, dtype=torch.uint8, device=device)
    frames[0, 1, :, :, 0] = 0  # a second one of another colour: logits would have to sum to 1 for both by chance
    try:
        with torch.inference_mode():
            outputs = network(prepare(frames, model)).float()
    except Exception as error:  # whatever a foreign network raises when its input is not what it expects
        raise UserError(f"{path} does not take frames as the YAML file describes them: {error}") from error
    if outputs.ndim != 2 or len(outputs) != 2:
        raise UserError(f"{path} gives {tuple(outputs.shape)} for 2 frames; a classifier gives (2, labels).")
    sum_to_1 = bool(torch.allclose(outputs.sum(dim=1), torch.ones(2).to(outputs), atol=1e-3))
    if model.output == "probabilities" and not sum_to_1:
        raise UserError(f"{path}: outputs don't add up to 1, so they are no probabilities. Set output: logits.")
    if model.output == "logits" and sum_to_1 and outputs.min() >= 0:
        raise UserError(
            f"{path}: outputs add up to 1 already, so they are no logits, and another softmax would make them nearly "
            "alike. Set output: probabilities."
        )
    return outputs.shape[1]
