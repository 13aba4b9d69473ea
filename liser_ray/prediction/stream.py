"""Sound in chunks of any size, an estimate every 0.1 s."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.prediction.backend import Backend
from liser_ray.prediction.pieces import RunningStatistics, SlidingWindow, WholeRecording
from liser_ray.prediction.prediction import kept_labels, softmax
from liser_ray.prediction.sound import ArrayReader
from liser_ray.student.card import StudentCard
from liser_ray.student.front_end import EVALUATION_STRIDE_SAMPLES, SEGMENT_SAMPLES


class Estimate(NamedTuple):
    """What the student says of the last 3 s.

    Attributes:
        start_s, end_s: of the window, from the stream's start.
        label: the most probable one.
        probabilities: float32 [K], sum 1, of the window.
        so_far: float32 [K], sum 1, of all up to the window's end: of the mean over its windows, each as heard then. It
            is what `Student.predict` says of the sound so far, where the student does not hear relative to the
            recording, or its chunks cover that.
        attributes: what the student gives beside the labels, such as arousal, of the window, by name.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: np.ndarray
    so_far: np.ndarray
    attributes: dict[str, float]


class EmotionStream:
    """Made by `Student.stream`. It keeps some seconds of sound; each estimate costs the same, always.

    The estimates are those of the windows of `Student.predict`, the first one after 3 s. A student with normalisation
    by utterance knows of the recording what was heard so far: its estimate is that of the last window of a recording
    that ends there.

    Attributes:
        labels: of the estimates' probabilities.
    """

    def __init__(self, backend: Backend, card: StudentCard, classes: Sequence[str], sample_rate_hz: int):
        self._backend = backend
        self._kept = kept_labels(card.labels, classes)
        self.labels = tuple(card.labels[i] for i in self._kept)
        self._n_labels, self._attributes = len(card.labels), card.attributes
        self._reader = ArrayReader(sample_rate_hz)
        self._windows = SlidingWindow(EVALUATION_STRIDE_SAMPLES, block_windows=1)
        self._statistics = RunningStatistics(backend) if card.of_recording else None
        self._recording = WholeRecording(backend, card.network.chunks)
        self._n_samples = 0
        self._n_estimates = 0
        self._sum = np.zeros(len(self.labels))
        self._temperature = card.temperature
        self._is_finished = False

    def add(self, samples: np.ndarray) -> list[Estimate]:
        """The estimates that the next sound completes, oldest first.

        Args:
            samples: float -1..1 or int16, [n] or [channels, n], any n.

        Raises:
            WaveformError: NaN or infinite samples; the stream stays as it was.
            ValueError: shape, type or range are none of a waveform, or the stream is finished.
        """
        self._refuse_finished()
        return self._hear(self._reader.add(samples))

    def finish(self) -> list[Estimate]:
        """The estimates that are left at the end; of less than 3 s of sound the only one, as of a short recording.

        Raises:
            ValueError: the stream is finished already.
        """
        self._refuse_finished()
        self._is_finished = True
        estimates = self._hear(self._reader.finish())
        return estimates + [self._estimate(window) for window in self._windows.finish()]

    def _refuse_finished(self) -> None:
        if self._is_finished:
            raise ValueError("This stream is finished. For another recording make another one with Student.stream.")

    def _hear(self, sound: np.ndarray) -> list[Estimate]:
        estimates = []
        while len(sound):
            # Up to where the next window ends, so that its statistics are of the sound until then.
            next_end = SEGMENT_SAMPLES + self._n_estimates * EVALUATION_STRIDE_SAMPLES
            piece, sound = np.split(sound, [next_end - self._n_samples])
            self._n_samples += len(piece)
            self._recording.add(piece)
            if self._statistics is not None:
                self._statistics.add(piece)
            estimates += [self._estimate(window) for window in self._windows.add(piece)]
        return estimates

    def _estimate(self, window: np.ndarray) -> Estimate:
        statistics = self._statistics.now() if self._statistics is not None else None
        answer = self._backend.window_logits(window, EVALUATION_STRIDE_SAMPLES, statistics)[0]
        logits = answer[self._kept] / self._temperature
        start = self._n_estimates * EVALUATION_STRIDE_SAMPLES
        end = min(start + SEGMENT_SAMPLES, self._n_samples)
        self._n_estimates += 1
        self._sum += logits
        probabilities = softmax(logits)
        at_once = self._recording.logits(statistics)
        so_far = self._sum / self._n_estimates if at_once is None else at_once[self._kept] / self._temperature
        return Estimate(
            start / SAMPLE_RATE_HZ,
            end / SAMPLE_RATE_HZ,
            self.labels[int(probabilities.argmax())],
            probabilities,
            softmax(so_far).astype(np.float32),
            dict(zip(self._attributes, answer[self._n_labels :].tolist(), strict=True)),
        )
