"""Small recordings for tests, made with PyAV: `from media_files import write_video, write_flash_click`.

All pictures are uint8 RGB [height, width, 3] with even sides; all sound is float32 in -1..1, [n] or [n, channels].
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from liser_ray.media import yuv
from liser_ray.media.frame import SampledFrame

FrameSource = Iterable[np.ndarray] | Callable[[float], np.ndarray]
AudioSource = np.ndarray | Callable[[np.ndarray], np.ndarray]

_FINE = Fraction(1, 90_000)  # time base for presentation times that follow no rate
_CHUNK = 1024  # samples that are encoded at a time


def write_video(
    path: Path | str,
    frames: FrameSource | None,
    fps: float | Fraction = 30,
    *,
    duration_s: float | None = None,
    pts_s: Sequence[float] | None = None,
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    rotation_deg: int = 0,
    sample_aspect: Fraction | None = None,
    video_start_s: float = 0.0,
    audio: AudioSource | None = None,
    audio_rate_hz: int = 48_000,
    audio_codec: str = "aac",
    audio_start_s: float = 0.0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a recording; the container follows from the suffix (.mp4 .mov .mkv .webm .avi .ts .mpg .wav ...).

    Args:
        frames: the pictures in order, or a function from time in seconds to picture; None for sound alone.
        duration_s: length for ``frames`` and ``audio`` given as functions.
        pts_s: presentation time of each picture, ascending: a variable rate. ``fps`` is then only a hint.
        codec, codec_options: of the pictures: libx264, libvpx-vp9, ...; and e.g. {"g": "30", "bf": "0"}.
        rotation_deg: degrees counterclockwise that a player turns the pictures by (display matrix; mp4 and mov).
        sample_aspect: width of a pixel over its height; None for square.
        video_start_s, audio_start_s: time of the first picture and of the first sample.
        audio: samples, or a function from times in seconds [n] to samples; None for no sound.
        container_options: of the muxer, e.g. {"movflags": "faststart"}.
    """
    pictures = _timed_pictures(frames, Fraction(fps), duration_s, pts_s)
    samples = _samples(audio, audio_rate_hz, duration_s)
    with av.open(str(path), "w", options=container_options or {}) as container:
        first = next(pictures, None)
        if first is not None:
            height, width = first[1].shape[:2]
            base = _FINE if pts_s is not None or video_start_s else 1 / Fraction(fps)
            # Or x264's macroblock tree gives other bytes when encoders run beside each other.
            options = {"x264-params": "cpu-independent=1"} if codec == "libx264" else {}
            video = container.add_stream(codec, rate=Fraction(fps), options=options | (codec_options or {}))
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.codec_context.time_base = base
            video.codec_context.thread_count = 1
            if sample_aspect is not None:
                video.codec_context.sample_aspect_ratio = sample_aspect
            if rotation_deg:
                video.set_display_rotation(rotation_deg)
        if samples is not None:
            layout = "mono" if samples.shape[1] == 1 else "stereo"
            sound = container.add_stream(audio_codec, rate=audio_rate_hz, layout=layout)
            sound.codec_context.time_base = Fraction(1, audio_rate_hz)

        # Sound goes in step with the pictures, so that they lie beside each other in the file.
        written = 0
        while first is not None:
            time_s, picture = first
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round((Fraction(time_s) + Fraction(video_start_s)) / base), base
            container.mux(video.encode(frame))
            while samples is not None and written < min(len(samples), time_s * audio_rate_hz):
                written = _encode_sound(container, sound, samples, written, audio_start_s)
            first = next(pictures, None)
        while samples is not None and written < len(samples):
            written = _encode_sound(container, sound, samples, written, audio_start_s)
        for stream in container.streams:
            container.mux(stream.encode(None))
    return Path(path)


CODECS = {
    ".asf": ("mpeg4", "libmp3lame"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".mpeg": ("mpeg1video", "mp2"),
    ".mpg": ("mpeg1video", "mp2"),
    ".mxf": ("mpeg2video", "pcm_s16le"),
    ".ogv": ("libvpx", "libopus"),
    ".vob": ("mpeg2video", "mp2"),
    ".webm": ("libvpx-vp9", "libopus"),
    ".wmv": ("mpeg4", "libmp3lame"),
}
"""Codecs of picture and sound that a container takes; H.264 and AAC where it isn't named."""


def write_moving(path: Path | str, duration_s: float = 2.0, fps: float = 30, **options) -> Path:
    """A picture that moves and a sound, in codecs that suit the suffix; ``options`` as of `write_video`."""
    codec, audio_codec = CODECS.get(Path(path).suffix, ("libx264", "aac"))
    encoder = {"cpu-used": "8"} if codec.startswith("libvpx") else {}
    values = {"frames": moving_gradient, "audio": voice_like, "codec": codec, "audio_codec": audio_codec} | options
    values["codec_options"] = encoder | options.get("codec_options", {})
    return write_video(path, values.pop("frames"), fps, duration_s=duration_s, **values)


def write_flash_click(
    path: Path | str,
    fps: float | Fraction,
    flash_times_s: Sequence[float],
    *,
    duration_s: float,
    pts_s: Sequence[float] | None = None,
    **options,
) -> Path:
    """A black recording with one white picture and a 5-ms burst of a 2-kHz tone at each flash, silent besides.

    The white picture is the one on display at the flash's time. ``options`` go to `write_video`.
    """
    times = pts_s or [float(k / Fraction(fps)) for k in range(round(duration_s * float(fps)))]
    white = {int(np.searchsorted(times, t + 1e-9, side="right")) - 1 for t in flash_times_s}
    frames = (np.full((48, 64, 3), 255 * (k in white), np.uint8) for k in range(len(times)))
    sound = np.zeros(round(duration_s * 48_000), np.float32)
    for time_s in flash_times_s:
        sound[round(time_s * 48_000) :][:240] = 0.8 * np.sin(2 * np.pi * 2000 * np.arange(240) / 48_000)
    return write_video(path, frames, fps, pts_s=pts_s, audio=sound, **options)


def moving_gradient(time_s: float, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A picture that differs at every time: a diagonal gradient that moves; uint8 [height, width, 3]."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    shift = int(time_s * 120)
    return np.stack([(2 * x + shift) % 256, (2 * y + 2 * shift) % 256, (x + y + 3 * shift) % 256], -1).astype(np.uint8)


def sampled(picture: np.ndarray, first_cell: int = 0, n_cells: int = 1) -> SampledFrame:
    """A picture as a span's stream gives it."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
    return SampledFrame(first_cell, n_cells, frame)


def packed(rgb: np.ndarray) -> np.ndarray:
    """A face picture, uint8 [224, 224, 3], as the media stage packs it."""
    picture = np.full((yuv.PACKED_ROWS, yuv.CROP_PX), yuv.OF_RGB, np.uint8)
    for to, plane in zip(yuv.planes(picture), yuv.planes_of_rgb(rgb), strict=True):
        to[:] = plane
    return picture


def voice_like(times_s: np.ndarray) -> np.ndarray:
    """A tone with harmonics and a slow rise and fall: sound that is not silence; float32 [n] for times in seconds."""
    tone = sum(np.sin(2 * np.pi * 140 * k * times_s) / k for k in range(1, 6))
    return (0.2 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * times_s))).astype(np.float32)


def _timed_pictures(frames, fps: Fraction, duration_s, pts_s):
    if frames is None:
        return
    if not callable(frames):
        for k, picture in enumerate(frames):
            yield (k / fps if pts_s is None else pts_s[k]), picture
        return
    times = pts_s if pts_s is not None else [k / fps for k in range(round(duration_s * fps))]
    for time_s in times:
        yield time_s, frames(float(time_s))


def _samples(audio: AudioSource | None, rate_hz: int, duration_s: float | None) -> np.ndarray | None:
    if callable(audio):
        audio = audio(np.arange(round(duration_s * rate_hz)) / rate_hz)
    if audio is None:
        return None
    return np.asarray(audio, np.float32).reshape(len(audio), -1)


def _encode_sound(container, stream, samples: np.ndarray, start: int, offset_s: float) -> int:
    """Encode the samples from ``start``; returns where the next ones start."""
    chunk = samples[start : start + _CHUNK]
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk.reshape(1, -1)), format="flt", layout=layout)
    frame.sample_rate, frame.time_base = stream.rate, Fraction(1, stream.rate)
    frame.pts = start + round(offset_s * stream.rate)
    container.mux(stream.encode(frame))
    return start + len(chunk)
