"""A small HuBERT fitted to synthetic voices: the demo's speech teacher.

The architecture is HuBERT base's (convolutions with a group norm, post-norm transformer, mean over time, linear head),
with few narrow layers and 20 ms a step like the original. It starts from random weights, so initial weights are larger
than HuBERT's 0.02, which suit a width of 768: with them this width learns nothing in a minute.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor
from transformers.utils import logging as transformers_logging

from liser_ray.demo.emotions import EMOTIONS, SPEECH_LABELS
from liser_ray.demo.people import person, take_rng
from liser_ray.demo.voices import SAMPLE_RATE_HZ, speak
from liser_ray.teachers.speech import WINDOW_SAMPLES

_UTTERANCE_S = 3.0
_BATCH = 16
_LEARNING_RATE = 2e-3


def fit_speech_teacher(folder: Path, seed: int, speakers: int, epochs: int) -> None:
    """Fit a teacher and write it as a Transformers folder with labels and preprocessor.

    Silent: it runs beside the video teacher's fit, which takes longer and shows the time left.

    Args:
        folder: to write, as `save_pretrained` does.
        seed: of voices, weights and batches.
        speakers: how many; each says one utterance of 3 s per emotion. None of them is in a demo corpus.
        epochs: over all windows of 0.5 s, which are cut elsewhere in each epoch.
    """
    utterances, labels = training_speech(seed, speakers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HubertForSequenceClassification(_config())
        _fit(model, utterances, labels, epochs)
    transformers_logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=True).save_pretrained(folder)


def training_speech(seed: int, speakers: int) -> tuple[Tensor, Tensor]:
    """Utterances float32 [n, 48000] and their labels int64 [n], as indices of `SPEECH_LABELS`."""
    waveforms, labels = [], []
    for speaker in range(speakers):
        voice = person(seed, "speech_teacher", speaker).voice
        for emotion in EMOTIONS:
            rng = take_rng(seed, "speech_teacher", speaker, 1 + EMOTIONS.index(emotion))
            waveforms.append(speak(voice, emotion, _UTTERANCE_S, rng).waveform)
            labels.append(SPEECH_LABELS.index(emotion))
    return torch.from_numpy(np.stack(waveforms)), torch.tensor(labels)


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
        classifier_proj_size=32,
        initializer_range=0.1,
        hidden_dropout=0.05,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.05,
        layerdrop=0.0,
        apply_spec_augment=False,
        id2label=dict(enumerate(SPEECH_LABELS)),
        label2id={label: index for index, label in enumerate(SPEECH_LABELS)},
    )


def _fit(model: HubertForSequenceClassification, utterances: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    per_utterance = utterances.shape[1] // WINDOW_SAMPLES - 1  # one less than fit: room to start elsewhere
    n_steps = epochs * (-(-len(utterances) * per_utterance // _BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=n_steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        offset = int(torch.randint(WINDOW_SAMPLES, ()))
        windows = utterances[:, offset : offset + per_utterance * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)
        variance, mean = torch.var_mean(windows, dim=1, correction=0, keepdim=True)
        windows = (windows - mean) / torch.sqrt(variance + 1e-7)  # as the preprocessor does
        targets = labels.repeat_interleave(per_utterance)
        for batch in torch.randperm(len(windows)).split(_BATCH):
            logits = model(input_values=windows[batch]).logits
            loss = F.cross_entropy(logits, targets[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
