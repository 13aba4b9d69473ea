"""The run card ``run.json``: what was asked for, with what, and what came of it."""

import json
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from liser_ray.corpora.plan import PlanSummary
from liser_ray.corpora.tuning import TeacherTuning
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.schema import SCHEMA_VERSION
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.files import read_bytes, write_bytes
from liser_ray.storage.run_record import package_versions, plain

if TYPE_CHECKING:  # Transformers, which a labels table's recipe does not need
    from liser_ray.teachers.speech_models import SpeechModel

_PACKAGES = ("ray", "torch", "transformers", "peft", "deepface", "av", "silero-vad", "pyarrow")
_COST_ONLY = ("timeout_s", "memory_mb")  # limits: they decide what fails, not what a label is


@dataclass(frozen=True)
class TeacherCard:
    """What identifies a teacher, and what a student must know of it.

    Attributes:
        name: of its columns.
        labels: names of its outputs, in order.
        sha256: of its weights.
        tuning: of a speech teacher that this package trained.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    tuning: TeacherTuning | None = None


def check_teachers(config: LabelConfig) -> tuple[TeacherCard, list[TeacherCard]]:
    """The cards of the video teacher and of the speech teachers, which are loaded once for it, on the CPU.

    Raises:
        UserError: there is no speech teacher, or a weight is missing or wrong.
    """
    from liser_ray.teachers.speech import load_speech_teachers
    from liser_ray.teachers.video import load_video_teacher

    if not config.speech_teachers:
        raise UserError("No speech teacher: give --speech_teachers at least one folder, s3:// or hf:// address.")
    video = load_video_teacher(config.video_teacher)
    speech = load_speech_teachers(config.speech_teachers)
    return TeacherCard(video.name, video.labels, video.sha256), [speech_card(one) for one in speech.teachers]


def speech_card(teacher: "SpeechModel") -> TeacherCard:
    """The card of a loaded speech teacher."""
    return TeacherCard(teacher.name, teacher.labels, teacher.sha256, teacher.tuning)


def make_recipe(config: LabelConfig, video: TeacherCard, speech: list[TeacherCard]) -> dict[str, Any]:
    """All that decides which rows there are and what is in them; the machines and limits do not."""
    media = {name: value for name, value in asdict(config.media).items() if name not in _COST_ONLY}
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "input": absolute(config.input),
            "span_seconds": config.plan.span_seconds,
            "max_pixels": config.plan.max_pixels,
            "max_frame_rate_hz": config.plan.max_frame_rate_hz,
            "media": media,
            "video_teacher": asdict(video),
            "speech_teachers": {card.name: asdict(card) for card in speech},
            "front_end": {"sample_rate_hz": SAMPLE_RATE_HZ, "frame_rate_hz": FRAME_RATE_HZ, "window_frames": 16},
        }
    )


def write_run_card(
    folders: OutputFolders,
    recipe: dict[str, Any],
    plan: PlanSummary,
    config: LabelConfig,
    results: dict[str, Any] | None = None,
) -> None:
    """Write ``run.json``: at the start without results, at the end with them."""
    card = {
        "recipe": recipe,
        "plan": {"recordings": plan.recordings, "spans": plan.spans, "hours": round(plan.hours, 4)},
        "precision": config.precision,
        "python": platform.python_version(),
        "packages": package_versions(*_PACKAGES),
        "results": results,
    }
    write_bytes(folders.run_card, json.dumps(card, indent=2).encode() + b"\n")


def recorded_rows(folders: OutputFolders) -> dict[str, int] | None:
    """Rows by outcome as ``run.json`` has them; None before a run has come to its end."""
    results = json.loads(read_bytes(folders.run_card))["results"]
    return results["rows"] if results else None
