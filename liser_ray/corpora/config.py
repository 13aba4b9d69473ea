"""Settings of the plan."""

from dataclasses import dataclass, field

from liser_ray.runtime.errors import UserError

MOST_SPANS_PER_PART = 25_000_000
"""Ray Data's checkpoint filter sorts the ids of a part in one task, and each of its actors holds them: 23 million have
been tried. Their text comes to Arrow's limit of 2 GiB at 67 million."""


@dataclass(frozen=True)
class PlanConfig:
    """How recordings are probed and cut into spans.

    Attributes:
        span_seconds: length of a span. 16 s are 30 windows of 16 frames and 32 of 0.5 s; both grids end together at
            every multiple of 8 s, and with another length the rest of a window is lost at each span's end.
        max_pixels: width × height of the largest frame that is labeled; 9,437,184 is 4096 × 2304.
        max_frame_rate_hz: highest frame rate that is labeled.
        max_recording_hours: longest recording that is labeled; guards against headers with an absurd length.
        probe_timeout_s: seconds that a recording's header may take.
        probe_workers: child processes that read headers; 0: one for each core.
        allowed_roots: folders and s3:// prefixes that recordings may lie in besides the input: the targets of links in
            a folder. For a manifest, which may else name any file and object: the only ones. Rows outside are denied.
        spans_per_part: the plan is made in parts of at most so many spans, each with a checkpoint of its own; a
            recording stays whole. A job that goes on reads all ids of its part first: of 2 million in a minute more
            than of none, of 23 million in 15 minutes more. 5 million are 22,000 hours.
    """

    span_seconds: float = 16.0
    max_pixels: int = 4096 * 2304
    max_frame_rate_hz: float = 240.0
    max_recording_hours: float = 48.0
    probe_timeout_s: float = 30.0
    probe_workers: int = 0
    allowed_roots: list[str] = field(default_factory=list)
    spans_per_part: int = 5_000_000

    def __post_init__(self) -> None:
        if not 0.534 <= self.span_seconds <= 3600:  # 16/30 s in whole microseconds holds no whole window
            raise UserError(f"span_seconds is {self.span_seconds}: give 0.534 (one window) to 3600 seconds.")
        for name in ("max_pixels", "max_frame_rate_hz", "max_recording_hours", "probe_timeout_s"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}: give a number above 0.")
        if self.probe_workers < 0:
            raise UserError(f"probe_workers is {self.probe_workers}: give 0 (one for each core) or more.")
        if not 1 <= self.spans_per_part <= MOST_SPANS_PER_PART:
            raise UserError(
                f"spans_per_part is {self.spans_per_part}: give 1 to {MOST_SPANS_PER_PART:,}, about as many as Ray has "
                "been seen to hold."
            )
