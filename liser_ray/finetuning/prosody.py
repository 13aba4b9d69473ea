"""Prosodic teachers: a residual network on descriptors of the voice, from scratch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledRecordings, LabeledSpeech, load_labeled_speech
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.config import ProsodyConfig, ProsodyTrainSettings
from liser_ray.finetuning.method import Ask, CardText, Method, Shared
from liser_ray.finetuning.scoring import Predictions
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.finetuning.task import RecordingTask
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.display import Counting
from liser_ray.student.config import SUPERVISED
from liser_ray.teachers.kinds.prosody import Options, load
from liser_ray.teachers.prosody.descriptors import HOP_SAMPLES
from liser_ray.teachers.prosody.network import ProsodyNetwork
from liser_ray.teachers.prosody.sources import SOURCES
from liser_ray.teachers.prosody.teacher import padded, write_prosody_network
from liser_ray.training.fit import Losses, ProcessGroup, Task
from liser_ray.training.precision import Precision, widened

Described = Mapping[int, np.ndarray]
"""Descriptors float32 [25, T] of recordings, by their indices."""

_VALIDATED_AT_ONCE = 32


class ProsodyTask(RecordingTask):
    """A prosodic teacher's task; ``described`` are all recordings that the split trains and selects with."""

    def __init__(
        self,
        recordings: LabeledRecordings,
        described: Described,
        split: TeacherSplit,
        settings: ProsodyTrainSettings,
        seed: int,
        group: ProcessGroup,
    ):
        super().__init__(recordings, split, settings, seed, group)
        self._described = described
        self._longest = round(settings.crop_s * SAMPLE_RATE_HZ / HOP_SAMPLES)
        torch.manual_seed(seed)
        self.model = ProsodyNetwork(len(recordings.labels), settings.dropout).to(group.device)
        frames = np.concatenate([described[index] for index in split.train], axis=1).astype(np.float64)
        self.model.standardise(torch.from_numpy(frames.mean(axis=1)), torch.from_numpy(frames.std(axis=1)))

    def losses(self, forward: Callable[..., Any], part: tuple[list[Tensor], np.ndarray]) -> Losses:
        """Cross-entropy of descriptors of pieces of recordings, int64 [B]; weighted by label if asked for."""
        pieces, recordings = part
        return Losses({SUPERVISED: self._label_loss(widened(forward(*self._inputs(pieces))), recordings)})

    def _parts(self, mine: np.ndarray, batch: np.ndarray, epoch: int) -> list[tuple[list[Tensor], np.ndarray]]:
        return [([self._piece(index, epoch) for index in mine], mine)]

    def _logits(self, model: nn.Module, indices: np.ndarray, precision: Precision) -> np.ndarray:
        def ask(some: np.ndarray) -> Tensor:
            return model(*self._inputs([torch.from_numpy(self._described[index]) for index in some]))

        return self._in_batches(ask, indices, _VALIDATED_AT_ONCE, precision)

    def _inputs(self, pieces: list[Tensor]) -> tuple[Tensor, Tensor]:
        values, n_frames = padded(pieces)
        return values.to(self._group.device), n_frames.to(self._group.device)

    def _piece(self, index: int, epoch: int) -> Tensor:
        # By recording, not by position: the piece does not depend on who takes it, or when.
        whole, rng = self._described[index], np.random.default_rng((self._seed, epoch, index))
        start = int(rng.integers(max(1, whole.shape[1] - self._longest + 1)))
        return torch.from_numpy(whole[:, start : start + self._longest])


class ProsodyMethod(Method[ProsodyConfig]):
    """A network from scratch, on descriptors that are computed once for all folds."""

    name = "prosody"

    def check(self, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
        """That there is who computes the descriptors."""
        SOURCES[self.config.descriptors](torch.zeros(SAMPLE_RATE_HZ))

    def read(self, labeled: LabeledSet) -> LabeledSpeech:
        """Their sound."""
        return load_labeled_speech(labeled)

    def recipe(self) -> dict[str, Any]:
        """The descriptors."""
        return self.facts()["settings"]

    def inputs(self, recordings: LabeledRecordings, indices: np.ndarray, folds: Sequence[Fold]) -> Described:
        """Their descriptors, computed on this process's GPU if it has one."""
        speech, describe = cast("LabeledSpeech", recordings), SOURCES[self.config.descriptors]
        device, found = ProcessGroup.alone().device, {}
        with Counting("recordings described", len(indices)) as counting:
            for index in indices.tolist():
                sound = torch.from_numpy(speech.waveform(index).astype(np.float32) / 32768)
                found[index] = describe(sound.to(device)).cpu().numpy()
                counting.advance()
        return found

    def task(self, shared: Shared, split: TeacherSplit, seed: int, group: ProcessGroup) -> ProsodyTask:
        """Of pieces of recordings, as they are described."""
        return ProsodyTask(*shared, split, self.config.train, seed, group)

    def write(self, folder: Path, recordings: LabeledRecordings, task: Task) -> None:
        """The network with its labels and the name of its descriptors."""
        network = cast("ProsodyNetwork", task.model)
        write_prosody_network(folder, network, recordings.labels, self.config.descriptors)

    def asked(self, folder: Path, recordings: LabeledRecordings, device: torch.device) -> Ask:
        """About whole recordings."""
        teacher, speech = load("teacher", Options(str(folder)), device, "float32"), cast("LabeledSpeech", recordings)

        def ask(indices: np.ndarray) -> Predictions:
            sounds = [speech.waveform(index).astype(np.float32) / 32768 for index in indices]
            return Predictions.of_wholes(teacher(sounds)["teacher"].values, speech.label_index[indices])

        return ask

    def facts(self) -> dict[str, Any]:
        """The descriptors."""
        return {"settings": {"descriptors": self.config.descriptors}}

    def text(self, card: Mapping[str, Any]) -> CardText:
        """That it knows the voice alone."""
        return CardText(
            title="Prosodic emotion teacher",
            loader="liser-ray",
            task="audio-classification",
            how=f"A residual network on 25 descriptors of the voice every 10 ms ({self.config.descriptors})",
            takes="16 kHz mono, a whole span at a time",
            ways={"recordings": "whole recordings"},
            warning="Acted speech teaches acted emotions: on spontaneous speech expect much less. Loudness is one of "
            "the descriptors: it hears how a recording was levelled.",
            use=_USE,
        )


_USE = """\
```python
import torch
from liser_ray.teachers.kinds.prosody import Options, load

teacher = load("prosody", Options("."), torch.device("cpu"), "float32")
softmax, embedding = teacher([sound])["prosody"]  # of spans float32 [samples], 16 kHz, -1..1
```
"""
