"""What was measured on a node, and what a second of video costs there."""

from dataclasses import dataclass

from liser_ray.calibration.media import MediaSpeed
from liser_ray.calibration.teachers import TeacherSpeed


@dataclass(frozen=True)
class NodeFacts:
    """The node that was measured.

    Attributes:
        cores: that decoding may use: those that Ray counts with, at most those that the machine has.
        gpus: that Ray counts with.
        device: name of the GPU that the teachers ran on; "" if they ran on the CPU.
    """

    cores: int
    gpus: int
    device: str


@dataclass(frozen=True)
class Costs:
    """What a second of video takes.

    Attributes:
        media_s: seconds of a core, while all cores decode.
        video_s, speech_s: seconds of a GPU, or without one of a core.
        on_gpu: which of the two.
    """

    media_s: float
    video_s: float
    speech_s: float
    on_gpu: bool

    @property
    def teachers_s(self) -> float:
        """Both teachers, which take turns on their device."""
        return self.video_s + self.speech_s


@dataclass(frozen=True)
class Measurements:
    """All that was measured.

    Attributes:
        node: where.
        media: the media stage.
        video: the video teacher.
        speech: the speech teachers, all of them together.
        speech_windows_per_span: windows that the speech teachers are asked about for a span that goes on to them.
        row_bytes: of a labeled span's row, with its sound.
        busy_cores: cores of the node that were busy with something else while one decoder was measured.
    """

    node: NodeFacts
    media: MediaSpeed
    video: TeacherSpeed
    speech: TeacherSpeed
    speech_windows_per_span: float
    row_bytes: int
    busy_cores: float

    @property
    def costs(self) -> Costs:
        """Of a second of the recordings; spans that come to their end in the media stage cost the teachers nothing."""
        devices = 1 if self.node.device else self.node.cores  # a teacher on a CPU uses all its cores
        spans = self.media.usable_share / self.media.span_s
        return Costs(
            media_s=1 / self.media.video_s_per_s,
            video_s=devices * spans * self.media.windows_per_span / self.video.best.windows_per_s,
            speech_s=devices * spans * self.speech_windows_per_span / self.speech.best.windows_per_s,
            on_gpu=bool(self.node.device),
        )
