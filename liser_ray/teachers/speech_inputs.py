"""How sound goes into a speech model: as its own feature extractor gives it, and no more than what is heard."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTEmbeddings

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.remote_code import brings_code
from liser_ray.teachers.transformers_folders import FROM_DISK, LOAD_ERRORS

PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
LONGEST_S = 30.0
"""Longer recordings go in in equal pieces of at most this length, and less where a model can't hear so much at once."""

_SMALLEST_STD = 1e-6  # as the challenge's own example adds it
_AST_FRAME, _AST_HOP = 400, 160  # samples
_WHISPER_POSITION_S = 0.02

_log = logging.getLogger(__name__)


class Preparation(Protocol):
    """What is done to sound before it goes into a model. Two that compare equal do the same.

    Attributes:
        masked: whether pieces of several lengths may go in together; else all must have one.
        longest_s: how much sound can go in at once, in seconds.
    """

    @property
    def masked(self) -> bool: ...  # noqa: D102
    @property
    def longest_s(self) -> float: ...  # noqa: D102

    def to_json(self) -> str:
        """A preprocessor file of it."""

    def windows(self, windows: Tensor) -> dict[str, Tensor]:
        """The model's inputs for windows float32 [N, samples], -1..1, on the device that they are on."""

    def pieces(self, pieces: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """The model's inputs for pieces int16 [n] each, 16 kHz, on the CPU.

        Those of less than 0.5 s are filled up with zeros to that first, as the labeling job fills up short sound:
        convolutions and SpecAugment need some frames.
        """


@dataclass(frozen=True)
class RawSound:
    """Waveforms themselves: HuBERT, WavLM, wav2vec 2.0 and their kin.

    Attributes:
        normalised: whether each gets zero mean and unit variance, as Transformers' Wav2Vec2FeatureExtractor does it.
    """

    normalised: bool
    masked = True
    longest_s = LONGEST_S

    def to_json(self) -> str:
        """See `Preparation`."""
        return Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=self.normalised).to_json_string()

    def windows(self, windows: Tensor) -> dict[str, Tensor]:
        """See `Preparation`."""
        if not self.normalised:
            return {"input_values": windows}
        variance, mean = torch.var_mean(windows, dim=1, correction=0, keepdim=True)
        return {"input_values": (windows - mean) / torch.sqrt(variance + 1e-7)}

    def pieces(self, pieces: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Padded to one length with zeros, and a mask int64 [N, longest] that is 1 where they are to be heard."""
        filled = _filled(pieces)
        waveforms = torch.zeros(len(filled), max(map(len, filled)))
        mask = torch.zeros(waveforms.shape, dtype=torch.int64)
        for row, piece in enumerate(filled):
            waveform = (piece - piece.mean()) / np.sqrt(piece.var() + 1e-7) if self.normalised else piece
            waveforms[row, : len(piece)] = torch.from_numpy(waveform)
            mask[row, : len(piece)] = 1
        return {"input_values": waveforms, "attention_mask": mask}


@dataclass(frozen=True)
class ScaledSound(RawSound):
    """Waveforms less a mean, by a standard deviation, both of the sound that the model was trained on.

    Models that bring code along say them in their config.json, as those of the Odyssey 2024 challenge.
    """

    mean: float = 0.0
    std: float = 1.0

    def windows(self, windows: Tensor) -> dict[str, Tensor]:
        """See `Preparation`."""
        return {"input_values": (windows - self.mean) / (self.std + _SMALLEST_STD)}

    def pieces(self, pieces: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """See `RawSound`; padded with zeros behind the scaling."""
        inputs = super().pieces(pieces)
        scaled = self.windows(inputs["input_values"])["input_values"]
        return {**inputs, "input_values": scaled * inputs["attention_mask"]}


@dataclass(frozen=True)
class Spectrograms:
    """What the model's own feature extractor makes of sound, of no more than there is.

    Attributes:
        settings: the extractor's, as JSON.
        model_type: of the model.
        longest_s: see `Preparation`.
        extractor: of Transformers.
    """

    settings: str
    model_type: str
    longest_s: float
    extractor: Any = field(compare=False, repr=False)

    @property
    def masked(self) -> bool:
        """Whisper and AST take no mask."""
        return self.model_type not in _CONTEXTS

    def to_json(self) -> str:
        """See `Preparation`."""
        return self.settings

    def windows(self, windows: Tensor) -> dict[str, Tensor]:
        """See `Preparation`."""
        return {name: one.to(windows.device) for name, one in self._extracted(list(windows.cpu().numpy())).items()}

    def pieces(self, pieces: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """See `Preparation`."""
        return self._extracted(_filled(pieces))

    def _extracted(self, sounds: list[np.ndarray]) -> dict[str, Tensor]:
        how: dict[str, Any] = {}
        if self.model_type == "whisper":  # by itself it pads to 30 s; its second convolution halves the frames
            how = {"padding": "longest", "truncation": False, "pad_to_multiple_of": 2 * self.extractor.hop_length}
        elif self.model_type == "audio-spectrogram-transformer":  # likewise
            self.extractor.max_length = 1 + (len(sounds[0]) - _AST_FRAME) // _AST_HOP
        return dict(self.extractor(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", **how))


def read_preparation(folder: Path, model: PreTrainedModel) -> Preparation:
    """As a folder's preprocessor file says for a model; UserError if there is none, or one for another sample rate."""
    mean, std = (getattr(model.config, name, None) for name in ("mean", "std"))
    if brings_code(folder) and isinstance(mean, int | float) and isinstance(std, int | float):
        return ScaledSound(False, float(mean), float(std))
    takes_sound = hasattr(model.config, "conv_stride")  # else spectrograms
    if not any((folder / file).is_file() for file in PREPROCESSORS):
        if not takes_sound:
            raise UserError(
                f"{folder} has no preprocessor_config.json, which says what the model hears: copy it there."
            )
        # The default of Wav2Vec2FeatureExtractor, and what HuBERT base's and wav2vec 2.0 base's own files say.
        # WavLM base's file says the opposite, so the choice is not made in silence.
        _log.warning("%s has no preprocessor_config.json: windows get zero mean and unit variance", folder)
        return RawSound(normalised=True)
    extractor = read_extractor(folder)
    if takes_sound:
        return RawSound(bool(extractor.do_normalize))
    kind = model.config.model_type
    context_s = _CONTEXTS[kind](model) if kind in _CONTEXTS else math.inf
    return Spectrograms(extractor.to_json_string(), kind, min(LONGEST_S, context_s), extractor)


def read_extractor(folder: Path) -> Any:  # noqa: ANN401 (Transformers' have no common type)
    """The feature extractor in a folder; UserError if it can't be read, or is for another sample rate."""
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, **FROM_DISK)
        rate_hz = extractor.sampling_rate
    except LOAD_ERRORS as error:
        raise UserError(f"Can't read preprocessor_config.json in {folder}: {error}") from error
    if rate_hz != SAMPLE_RATE_HZ:
        raise UserError(f"{folder} is a model for {rate_hz} Hz; one for {SAMPLE_RATE_HZ} Hz is needed.")
    return extractor


def hear_only_what_is_there(model: PreTrainedModel) -> None:
    """Let a model of a fixed context (Whisper's 30 s, AST's 10 s) take less: the positions after it are cut off.

    Padding to the full context takes Whisper 60 times as long for 0.5 s, and its layers and pooling hear the silence.
    """
    if model.config.model_type == "whisper":
        model.get_submodule("encoder").register_forward_pre_hook(_cut_positions)
    elif model.config.model_type == "audio-spectrogram-transformer":
        model.get_submodule("audio_spectrogram_transformer.embeddings").__class__ = _CutEmbeddings


def _cut_positions(encoder: nn.Module, inputs: tuple[Tensor]) -> None:
    """Transformers' encoder demands as many frames as its configuration says, and adds that many positions."""
    n_positions = inputs[0].shape[-1] // 2
    positions = encoder.get_submodule("embed_positions")
    positions.num_embeddings = encoder.config.max_source_positions = n_positions  # type: ignore[assignment, union-attr]


class _CutEmbeddings(ASTEmbeddings):
    """AST's, whose positions are a grid of frequency by time: as many in time as there are patches."""

    def forward(self, input_values: Tensor) -> Tensor:
        """Of spectrograms float32 [N, frames, bands]."""
        patches = self.patch_embeddings(input_values)
        special, grid = self.position_embeddings.split([2, self.position_embeddings.shape[1] - 2], dim=1)
        n_bands, _ = self.get_shape(self.config)
        grid = grid.unflatten(1, (n_bands, -1))[:, :, : patches.shape[1] // n_bands].flatten(1, 2)
        first = torch.cat([self.cls_token, self.distillation_token], dim=1) + special
        return self.dropout(torch.cat([first.expand(len(patches), -1, -1), patches + grid], dim=1))


def _whisper_context_s(model: PreTrainedModel) -> float:
    # Not by the configuration, which the hook changes.
    return len(model.get_parameter("encoder.embed_positions.weight")) * _WHISPER_POSITION_S


def _ast_context_s(model: PreTrainedModel) -> float:
    return (_AST_FRAME + (model.config.max_length - 1) * _AST_HOP) / SAMPLE_RATE_HZ


_CONTEXTS = {"whisper": _whisper_context_s, "audio-spectrogram-transformer": _ast_context_s}
"""How much models of a fixed context hear, in seconds."""


def _filled(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Float32, -1..1, of at least 0.5 s."""
    shortest = round(WINDOW_S * SAMPLE_RATE_HZ)
    return [np.pad(piece, (0, max(0, shortest - len(piece)))).astype(np.float32) / 32768 for piece in pieces]
