"""What is run on the node that is measured."""

import os
import threading

import numpy as np
from joblib import cpu_count

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.calibration.measurements import NodeFacts
from liser_ray.calibration.media import MediaSpeed, SpanRun, measure_media, media_speed
from liser_ray.calibration.sample import Sample, counted
from liser_ray.calibration.teachers import TeacherSpeed, measure_teacher
from liser_ray.media.flac import decode_flac
from liser_ray.media.span import SpanMedia
from liser_ray.runtime.errors import UserError
from liser_ray.storage.roots import roots_of

LARGEST_VIDEO_BATCH, LARGEST_SPEECH_BATCH = 64, 1024
"""Four such batches are 600 MB of clips, and 130 MB of sound."""

_KEPT_SPANS = 3  # whose clips and sound the teachers are asked about


class NodeMeter:
    """Measures one stage after the other on the machine it runs on; an actor of the calibration job."""

    def __init__(self, config: CalibrateConfig, sample: Sample, on_gpu: bool):
        self._config = config
        self._spans = sample.spans
        self._on_gpu = on_gpu
        self._roots = roots_of(config.input, config.plan.allowed_roots)
        self._kept: list[SpanMedia] = []
        self._alone: list[SpanRun] = []
        self._keeping = threading.Lock()

    def load_teachers(self) -> None:
        """Get the teachers ready.

        Raises:
            UserError: a weight is missing or wrong; or this process was given a GPU, and PyTorch finds none.
        """
        import torch

        from liser_ray.teachers.batches import choose_device
        from liser_ray.teachers.video import load_video_teacher

        config, device = self._config, choose_device()
        if self._on_gpu and device == "cpu":
            raise UserError(
                "Ray counts with a GPU on the node, but PyTorch finds none there: look at its driver (`nvidia-smi`). "
                f"This PyTorch is built for CUDA {torch.version.cuda}."
            )
        self._device = torch.cuda.get_device_name() if self._on_gpu else ""
        self._video = load_video_teacher(config.video_teacher, device, config.precision)
        from liser_ray.teachers.speech import (
            load_speech_teachers,  # 10 s, which a wrong video teacher need not wait for
        )

        self._speech = load_speech_teachers(config.speech_teachers, device, config.precision)

    def look_around(self, cpus: float, gpus: float) -> NodeFacts:
        """What there is to measure with; to be asked when the teachers are loaded.

        Args:
            cpus, gpus: that Ray counts with on this node.
        """
        cores = max(1, min(cpu_count(), int(cpus)))
        return NodeFacts(cores, int(gpus) if self._on_gpu else 0, self._device)

    def media_alone(self) -> float:
        """Measure one child of the media stage by itself, and keep some of its spans for the teachers.

        Returns:
            Cores that were busy with something else meanwhile.
        """
        total, idle = _ticks()
        self._alone = measure_media(self._spans, self._config.media, 1, self._config.measure_s, self._roots, self._keep)
        later_total, later_idle = _ticks()
        busy_share = 1 - (later_idle - idle) / max(1, later_total - total)
        return max(0.0, busy_share * (os.cpu_count() or 1) - 1)

    def media_together(self, cores: int) -> MediaSpeed:
        """Measure as many side by side as there are cores.

        Raises:
            UserError: no span is of use; with the reasons.
        """
        together = self._alone
        if cores > 1:
            together = measure_media(
                self._spans, self._config.media, cores, self._config.measure_s, self._roots, self._keep
            )
        speed = media_speed(self._alone, together, cores)
        if not self._kept:
            raise UserError(
                f"None of the {speed.spans} spans that were tried is of use to the teachers: {counted(speed.lost)}. "
                "Draw more with --spans, or give an --input with videos of people talking."
            )
        return speed

    def video_teacher(self) -> TeacherSpeed:
        """Measure the video teacher on the GPU, or on all cores."""

        def ask(clips: np.ndarray, batch_size: int) -> None:
            self._video.batch_size = batch_size
            self._video(clips)

        clips = np.concatenate([span.clips[span.video_valid > 0] for span in self._kept])
        return measure_teacher(ask, clips, self._config.measure_s, LARGEST_VIDEO_BATCH)

    def speech_teachers(self) -> tuple[TeacherSpeed, float, int]:
        """Measure the speech teachers together; also their windows in a second of sound, and how many they are."""
        from liser_ray.teachers.speech import SAMPLE_RATE_HZ, speech_windows

        def ask(windows: np.ndarray, batch_size: int) -> None:
            self._speech.batch_size = batch_size
            self._speech(windows)

        sounds = [decode_flac(span.audio) for span in self._kept]
        windows = np.concatenate([speech_windows(pcm)[0] for pcm in sounds])
        speed = measure_teacher(ask, windows, self._config.measure_s, LARGEST_SPEECH_BATCH)
        sound_s = sum(map(len, sounds)) / SAMPLE_RATE_HZ
        return speed, len(windows) / sound_s, len(self._speech.teachers)

    def _keep(self, media: SpanMedia) -> None:
        with self._keeping:
            if len(self._kept) < _KEPT_SPANS:
                self._kept.append(media)


def _ticks() -> tuple[int, int]:
    """What the cores of this machine have counted since it was started: all ticks, and those without work."""
    with open("/proc/stat") as file:
        ticks = [int(one) for one in file.readline().split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]  # idle, and waiting for a disk
