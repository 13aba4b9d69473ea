"""Prosodic teachers: from the sound of a span to a distribution over emotions and an embedding."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.batches import Windows, one_thread
from liser_ray.teachers.bundles import LoadedModel, find_bundle
from liser_ray.teachers.kinds.prosody import Options
from liser_ray.teachers.labels import labels_of_checkpoint
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.prosody.network import EMBEDDING_SIZE, ProsodyNetwork
from liser_ray.teachers.prosody.sources import SOURCES, Source
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.teachers.weights import load_strictly, read_checkpoint, save_checkpoint
from liser_ray.training.precision import Precision

WEIGHTS_FILE = "prosody.safetensors"


@dataclass(frozen=True)
class ProsodyModel(LoadedModel):
    """A network on a device, and of which descriptors it is."""

    network: ProsodyNetwork
    source: Source


class ProsodyTeacher(Teacher):
    """One or more networks on one device, a target each; a span is one window, and is described once for all of them.

    Args:
        name: of the teacher.
        models: at least one, on the device already.
        device: where they run.
        batch_size: spans per forward pass.
        embedding: whether what the last layer reads is given too.
    """

    def __init__(
        self, name: str, models: Sequence[ProsodyModel], device: torch.device, batch_size: int, embedding: bool
    ):
        self.models, self.batch_size = tuple(models), batch_size
        self._device, self._embedding = device, embedding
        size = EMBEDDING_SIZE if embedding else 0
        self.targets = tuple(model.target(name, size) for model in self.models)

    @torch.inference_mode()
    @one_thread()
    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """Softmax, and embedding if asked for, of every model for every span: float32 [samples] each, 16 kHz, -1..1."""
        described: dict[Source, list[Tensor]] = {
            source: [SOURCES[source](torch.from_numpy(np.array(one)).to(self._device)) for one in windows]
            for source in dict.fromkeys(model.source for model in self.models)
        }
        return {model.name: self._answer(model, described[model.source]) for model in self.models}

    def _answer(self, model: ProsodyModel, described: Sequence[Tensor]) -> Answer:
        softmaxes = [torch.empty(0, len(model.labels), device=self._device)]
        vectors = [torch.empty(0, EMBEDDING_SIZE, device=self._device)]
        for start in range(0, len(described), self.batch_size):
            vectors.append(model.network.embed(*padded(described[start : start + self.batch_size])))
            softmaxes.append(model.network.classifier(vectors[-1]).softmax(1))
        embedding = torch.cat(vectors).half().cpu().numpy() if self._embedding else None
        return Answer(torch.cat(softmaxes).cpu().numpy(), embedding)


def padded(described: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Descriptors float32 [25, T] of N spans as float32 [N, 25, longest T], zeros behind the shorter, and int64 [N]."""
    n_frames = torch.tensor([one.shape[1] for one in described], device=described[0].device)
    return pad_sequence([one.T for one in described], batch_first=True).transpose(1, 2), n_frames


def load_prosody_teacher(name: str, options: Options, device: torch.device, _: Precision) -> ProsodyTeacher:
    """In float32 whatever the others' precision: it is small. See `liser_ray.teachers.kinds.prosody`."""
    models = [_load(one, address, device) for one, address in expanded(name, options.weights).items()]
    return ProsodyTeacher(name, models, device, options.batch_size, options.embedding)


def _load(name: str, address: str, device: torch.device) -> ProsodyModel:
    hint = f"Give a folder that finetune_prosody_teacher.py has made: {name}=prosody:FOLDER."
    path = fetch(address, hint) / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(f"{address} has no {WEIGHTS_FILE}. {hint}")
    checkpoint = read_checkpoint(path)
    labels, source = labels_of_checkpoint(checkpoint), checkpoint.metadata.get("descriptors", "")
    if not labels or source not in SOURCES:
        raise UserError(f"{path} does not say which labels it has, or of which descriptors. {hint}")
    with torch.device("meta"):
        network = ProsodyNetwork(len(labels))
    network = load_strictly(network, checkpoint, "a prosodic teacher").to(device)
    return ProsodyModel(name, labels, sha256(path), network, source, bundle=find_bundle(str(path.parent)))


def write_prosody_network(folder: Path, network: ProsodyNetwork, labels: Sequence[str], source: Source) -> None:
    """Write a network as `load_prosody_teacher` reads it."""
    metadata = {"labels": json.dumps(list(labels)), "descriptors": source}
    save_checkpoint(folder / WEIGHTS_FILE, network.state_dict(), metadata)
