"""The student's training as a script would have it: a Dataset that reads a file per item, a DataLoader, the network.

Network, features and evaluation are the paper's; how they are computed is as written in any tutorial.
"""

from collections.abc import Sequence

import numpy as np
import soundfile
import torch
import torchaudio
from torch import nn
from torch.utils.data import DataLoader, Dataset

SEGMENT = 48_000
BATCH = 25


class Recordings(Dataset):
    """A random 3-s segment of a file as a log-Mel spectrogram, and its label."""

    def __init__(self, paths: list[str], labels: np.ndarray):
        self.paths, self.labels = paths, labels
        self.mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=2048, hop_length=512, n_mels=64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        waveform = load(self.paths[index])
        start = np.random.default_rng().integers(len(waveform) - SEGMENT + 1)
        return self.mel(waveform[start : start + SEGMENT]).clamp(min=1e-6).log(), int(self.labels[index])


def load(path: str) -> torch.Tensor:
    """float32 [n], at least 3 s."""
    waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    return nn.functional.pad(waveform, (0, max(0, SEGMENT - len(waveform))))


class Network(nn.Module):
    """The student, with everything in the order in which the paper lists it."""

    def __init__(self, n_labels: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(1, 64, 3, padding="same"), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d((2, 2))),
            *(nn.Conv2d(64, 64, 3, padding="same"), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d((4, 2))),
            *(nn.Conv2d(64, 64, (3, 1), padding="same"), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d((4, 1))),
        )
        self.lstm = nn.LSTM(128, 64, batch_first=True)
        self.head = nn.Linear(64, n_labels)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        maps = self.convolutions(log_mel.unsqueeze(1))
        steps, _ = self.lstm(maps.flatten(1, 2).transpose(1, 2))
        return self.head(steps[:, -1])


class PlainTraining:
    """An epoch at a time: one pass over the training files, one over the validation files."""

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        loaders: int,
        device: str,
    ):
        self.device = device
        files = Recordings([paths[i] for i in train], labels[train])
        self.loader = DataLoader(files, BATCH, shuffle=True, num_workers=loaders, persistent_workers=loaders > 0)
        self.paths, self.validation, self.mel = paths, validation, files.mel
        self.network = Network(int(labels.max()) + 1).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)

    def train(self) -> None:
        self.network.train()
        for log_mel, label in self.loader:
            logits = self.network(log_mel.to(self.device))
            loss = nn.functional.cross_entropy(logits, label.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()  # for the progress bar

    @torch.inference_mode()
    def validate(self) -> None:
        self.network.eval()
        for index in self.validation:
            windows = load(self.paths[index]).unfold(0, SEGMENT, 1600)
            self.network(self.mel(windows).clamp(min=1e-6).log().to(self.device)).mean(dim=0)
