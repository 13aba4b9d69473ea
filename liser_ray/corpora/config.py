"""Settings of the plan."""

from dataclasses import dataclass, field

from liser_ray.runtime.errors import UserError


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
    """

    span_seconds: float = 16.0
    max_pixels: int = 4096 * 2304
    max_frame_rate_hz: float = 240.0
    max_recording_hours: float = 48.0
    probe_timeout_s: float = 30.0
    probe_workers: int = 0
    allowed_roots: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0.534 <= self.span_seconds <= 3600:  # 16/30 s in whole microseconds holds no whole window
            raise UserError(f"span_seconds is {self.span_seconds}: give 0.534 (one window) to 3600 seconds.")
        for name in ("max_pixels", "max_frame_rate_hz", "max_recording_hours", "probe_timeout_s"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}: give a number above 0.")
        if self.probe_workers < 0:
            raise UserError(f"probe_workers is {self.probe_workers}: give 0 (one for each core) or more.")
