"""Recordings that are unusual, made for tests: several tracks, codecs without a decoder, HDR."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

_RATE_HZ = 16_000
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # ITU-R BT.2087


class Sound(NamedTuple):
    samples: np.ndarray  # float32 [n], 16 kHz
    language: str = ""
    is_default: bool = False


def write_tracks(
    path: Path, sounds: Sequence[Sound], frames: Sequence[Callable[[float], np.ndarray]] = (), duration_s: float = 3.2
) -> Path:
    """A recording with a track for each sound, and for each function from time to picture."""
    with av.open(str(path), "w") as container:
        videos, audios = [], []
        for frame in frames:
            height, width = frame(0).shape[:2]
            videos.append(container.add_stream("libx264", rate=25, options={"x264-params": "cpu-independent=1"}))
            videos[-1].width, videos[-1].height, videos[-1].pix_fmt = width, height, "yuv420p"
            videos[-1].codec_context.thread_count = 1
        for sound in sounds:
            audios.append(container.add_stream("aac", rate=_RATE_HZ, layout="mono"))
            if sound.language:
                audios[-1].metadata["language"] = sound.language
            audios[-1].disposition = int(sound.is_default)
        for k in range(round(duration_s * 25)):
            for frame, stream in zip(frames, videos, strict=True):
                picture = av.VideoFrame.from_ndarray(frame(k / 25), format="rgb24")
                picture.pts, picture.time_base = k, Fraction(1, 25)
                container.mux(stream.encode(picture))
            start = k * _RATE_HZ // 25
            for sound, stream in zip(sounds, audios, strict=True):
                part = np.ascontiguousarray(sound.samples[None, start : start + _RATE_HZ // 25], np.float32)
                chunk = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
                chunk.sample_rate, chunk.pts = _RATE_HZ, start
                container.mux(stream.encode(chunk))
        for stream in container.streams:
            container.mux(stream.encode(None))
    return path


def rename_codec(path: Path, old: bytes, new: bytes, number: int = 0) -> Path:
    """Call the codec of one of an MP4's tracks something else: of the number-th track that has the old one."""
    data = bytearray(path.read_bytes())
    at = data.index(b"moov")
    for _ in range(number + 1):
        at = data.index(old, data.index(b"stsd", at + 4))
    data[at : at + 4] = new
    if old == b"mp4a":  # whose description names the codec again
        at = data.index(b"esds", at)
        data[at : at + 4] = b"free"
    path.write_bytes(data)
    return path


def write_hdr(path: Path, picture: np.ndarray, transfer: str, n_frames: int = 5) -> Path:
    """An ordinary picture (uint8 RGB) as HDR video, "pq" or "hlg" in BT.2020, whose white is at 203 cd/m2."""
    light = (picture / 255.0) ** 2.4 @ _TO_2020.T * 203
    if transfer == "pq":
        power = (np.clip(light, 0, None) / 10_000) ** 0.1593017578125
        code = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luminance = np.maximum(light @ [0.2627, 0.6780, 0.0593], 1e-6)[..., None] / 1000
        scene = np.clip(light / 1000 / luminance ** (1 - 1 / 1.2), 0, 1)
        code = np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073,
        )
    rgb = av.VideoFrame.from_ndarray(np.round(code * 65535).clip(0, 65535).astype(np.uint16), format="rgb48le")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv444p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries = {"pq": 16, "hlg": 18}[transfer], 9
        context.colorspace, context.color_range = 9, 1
        for k in range(n_frames):
            frame = rgb.reformat(format="yuv444p10le", dst_colorspace="BT2020", dst_color_range="MPEG")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
