"""What a student says of whole recordings: the mean of its logits over 3-s windows, one every 0.1 s.

One with chunks hears those that they cover as a whole; what is called a window here is then all of the recording.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.student.chunks import heard_whole
from liser_ray.student.config import OF_RECORDING, Normalisation
from liser_ray.student.data.mels import to_float
from liser_ray.student.features import BandNormalisation, LogMel, evaluation_windows, in_chunks, recording_statistics
from liser_ray.student.front_end import frame_count, window_count
from liser_ray.training.precision import Precision, mixed

MAX_HELD_WINDOWS = 40_000
"""So many windows' spectrograms are kept from one epoch to the next (a gigabyte); of more, none."""

_BATCH_WINDOWS = {"cpu": 64, "cuda": 1024}


class EvaluationSet:
    """Recordings ``indices``, int64 [n], of a set, to score a student of these settings on, again and again.

    Where sets are joined, the labels that a recording's own set has compete for it.

    Attributes:
        indices: of the recordings.
        truth: their labels, int64 [n].
        of_parts: which of them are of each of the joined sets, bool [n] each; of those that any is of.
    """

    def __init__(
        self,
        speech: LabeledSpeech,
        indices: np.ndarray,
        normalisation: Normalisation,
        device: torch.device,
        chunks: int = 0,
    ):
        self.truth = speech.label_index[indices]
        self._speech, self.indices, self._device = speech, indices, device
        part_index = speech.part_index[indices]
        self.of_parts = [part_index == part for part in np.unique(part_index)]
        self._possible = speech.labels_of_parts[part_index]
        self._log_mel = LogMel(normalisation).to(device)
        self._of_recording = BandNormalisation(normalisation) if normalisation in OF_RECORDING else None
        self._chunks = chunks
        n_samples = [len(speech.waveform(int(i))) for i in indices]
        self.n_windows = np.array([1 if heard_whole(n, chunks) else window_count(n) for n in n_samples], np.int64)
        self._batch = _BATCH_WINDOWS.get(device.type, 64)
        self._held: list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def logits(self, classify: Callable[[Tensor], Tensor], precision: Precision = "float32") -> np.ndarray:
        """Mean logits of each recording, float32 [n, K]; -inf for labels that its set does not have.

        Args:
            classify: a classifier in evaluation mode: windows float32 [w, 64, F] to logits [w, K], and attributes
                after them, which are left out; F is 94, or with N chunks N · 32.
            precision: of the matrix products; one that the device is able to.

        Raises:
            ValueError: there are no recordings.
        """
        return self.logits_of(self.means(classify, precision))

    def logits_of(self, means: np.ndarray) -> np.ndarray:
        """Those of the labels, float32 [n, K], of a classifier's `means`, which has attributes after them."""
        means = np.ascontiguousarray(means[:, : len(self._speech.labels)])
        return np.where(self._possible, means, np.float32(-np.inf)) if self._speech.joined else means

    @torch.no_grad()
    def means(self, answer: Callable[[Tensor], Tensor], precision: Precision = "float32") -> np.ndarray:
        """Mean answer to the windows of each recording, float32 [n, D].

        Args:
            answer: of a network in evaluation mode, to windows float32 [w, 64, F]: float [w, D].
            precision: of the matrix products; one that the device is able to.

        Raises:
            ValueError: there are no recordings.
        """
        if not len(self):
            raise ValueError("There are no recordings to score.")
        if self._held is None and self.n_windows.sum() <= MAX_HELD_WINDOWS:
            self._held = list(self._windows())
        found = []
        for windows in self._held if self._held is not None else self._windows():
            with mixed(self._device, precision):
                found.append(answer(windows).float())
        by_window = torch.cat(found).cpu().numpy()
        firsts = np.cumsum(self.n_windows) - self.n_windows
        return np.add.reduceat(by_window, firsts, axis=0) / self.n_windows.astype(np.float32)[:, None]

    def _windows(self) -> Iterator[Tensor]:
        """Spectrograms of all windows, float32 [at most a batch, 64, F]."""
        waiting: list[Tensor] = []
        for index in self.indices:
            waiting.append(self._windows_of(to_float(self._speech.waveform(int(index)), self._device)))
            if sum(map(len, waiting)) >= self._batch:
                *full, rest = torch.cat(waiting).split(self._batch)
                yield from full
                waiting = [rest]
        if waiting:
            yield from torch.cat(waiting).split(self._batch)

    def _windows_of(self, waveform: Tensor) -> Tensor:
        whole = self._log_mel.fit_length(waveform)
        windows = whole[None] if heard_whole(len(waveform), self._chunks) else evaluation_windows(whole)
        # A long recording's windows overlap thirtyfold: not all of them at once.
        log_mels = torch.cat([self._log_mel(part) for part in windows.split(self._batch)])
        if self._chunks:
            log_mels = in_chunks(log_mels, self._chunks)
        if self._of_recording is None:
            return log_mels
        n_frames = torch.tensor([frame_count(len(waveform))], device=self._device)
        statistics = recording_statistics(self._log_mel(whole[None]), n_frames, self._of_recording.kind)
        return self._of_recording(log_mels, statistics)
