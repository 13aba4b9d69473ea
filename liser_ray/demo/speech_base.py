"""The demo's pretrained speech model: a small HuBERT that has heard other people's moods.

The architecture is HuBERT base's (convolutions with a group norm, post-norm transformer), with few narrow layers and
20 ms a step like the original. It learns what large models know from hours beyond counting, in less than a minute: the
log-Mel spectrum of each frame (HuBERT predicts its MFCC cluster; nothing is masked here), and which mood a speaker is
in. The spectrum alone is enough for LoRA to tune it to emotions, which a model with random weights is not; with the
moods of others it knows more of strangers than a student can learn from two people, as a teacher should.

Initial weights are larger than HuBERT's 0.02, which suit a width of 768: with them this width learns nothing in a
minute.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor
from transformers.utils import logging as transformers_logging

from liser_ray.demo.people import EMOTIONS, person, take_rng
from liser_ray.demo.voices import SAMPLE_RATE_HZ, speak
from liser_ray.training.fit import FitSettings, Losses, ProcessGroup, Step, Training
from liser_ray.training.precision import Precision

_UTTERANCE_S = 3.0
_PIECE_SAMPLES = SAMPLE_RATE_HZ  # 1 s
_FRAME_SAMPLES = 320  # the product of the convolutions' strides
_N_MELS = 40
_BATCH = 16
_LEARNING_RATE = 2e-3


def pretrain_speech_base(folder: Path, seed: int, speakers: int, steps: int) -> None:
    """Pretrain a small HuBERT and write it as a Transformers folder without a head.

    It has heard so many speakers, none of them in a demo corpus; a step is 16 pieces of 1 s. Silent: it runs beside the
    face teacher's fit, which takes longer and shows the time left.
    """
    utterances, moods = moody_speech(seed, speakers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HubertModel(_config())
        _pretrain(model, utterances, moods, steps, seed)
    transformers_logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=True).save_pretrained(folder)


def moody_speech(seed: int, speakers: int) -> tuple[Tensor, Tensor]:
    """Utterances of 3 s, float32 [n, 48000], 16 kHz: each speaker in each mood; and which, int64 [n]."""
    waveforms = []
    for speaker in range(speakers):
        voice = person(seed, "speech_base", speaker).voice
        for take, emotion in enumerate(EMOTIONS, start=1):
            rng = take_rng(seed, "speech_base", speaker, take)
            waveforms.append(speak(voice, emotion, _UTTERANCE_S, rng).waveform)
    return torch.from_numpy(np.stack(waveforms)), torch.arange(len(EMOTIONS)).repeat(speakers)


def _config() -> HubertConfig:
    return HubertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32, 32, 48, 64, 64),
        conv_stride=(10, 4, 2, 2, 2),
        conv_kernel=(20, 8, 3, 3, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=64,
        initializer_range=0.1,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
    )


class _Predictor(nn.Module):
    """HuBERT with heads that say each frame's log-Mel spectrum and the piece's mood."""

    def __init__(self, hubert: HubertModel):
        super().__init__()
        width = hubert.config.hidden_size
        self.hubert, self.mel, self.mood = hubert, nn.Linear(width, _N_MELS), nn.Linear(width, len(EMOTIONS))

    def forward(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.hubert(input_values=pieces).last_hidden_state
        return self.mel(frames), self.mood(frames.mean(dim=1))


@dataclass
class _Pieces:
    """The pretraining as a task: random pieces of the utterances, all in one epoch."""

    model: _Predictor
    utterances: Tensor
    moods: Tensor
    n: int

    def __post_init__(self) -> None:
        self._mel = MelSpectrogram(SAMPLE_RATE_HZ, n_fft=1024, hop_length=_FRAME_SAMPLES, n_mels=_N_MELS)

    def n_steps(self, epoch: int) -> int:
        return self.n

    def steps(self, epoch: int) -> Iterator[Step]:
        for _ in range(self.n):
            start = int(torch.randint(self.utterances.shape[1] - _PIECE_SAMPLES, ()))
            rows = torch.randint(len(self.utterances), (_BATCH,))
            yield Step([(self.utterances[rows, start : start + _PIECE_SAMPLES], self.moods[rows])], _BATCH)

    def losses(self, forward: Callable[..., Any], part: tuple[Tensor, Tensor]) -> Losses:
        pieces, moods = part
        variance, mean = torch.var_mean(pieces, dim=1, correction=0, keepdim=True)
        pieces = (pieces - mean) / torch.sqrt(variance + 1e-7)  # as the preprocessor does
        target = torch.log(self._mel(pieces) + 1e-3).transpose(1, 2)
        frames, said = forward(pieces)
        mel, mood = F.mse_loss(frames, target[:, : frames.shape[1]]), F.cross_entropy(said, moods)
        return Losses({"mel": _BATCH * mel, "mood": _BATCH * mood})

    def validate(self, model: nn.Module, precision: Precision) -> None:
        return None


def _pretrain(model: HubertModel, utterances: Tensor, moods: Tensor, steps: int, seed: int) -> None:
    settings = FitSettings(1, _LEARNING_RATE, schedule="cosine", warm_up=0.1, max_gradient_norm=1.0)
    task = _Pieces(_Predictor(model), utterances, moods, steps)
    Training(task, settings, seed, ProcessGroup(utterances.device)).run(lambda score: None, lambda done: None)
