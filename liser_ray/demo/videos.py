"""MP4 files (H.264 and AAC) from pictures and sound, through PyAV."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from liser_ray.demo.voices import SAMPLE_RATE_HZ

_AUDIO_CHUNK = 1024  # one AAC frame


def write_video(path: Path, frames: Iterable[np.ndarray], frame_rate_hz: int, waveform: np.ndarray) -> None:
    """Encode a video; the same input gives the same bytes.

    Args:
        path: to write, ending in ``.mp4``.
        frames: uint8 RGB [height, width, 3], even sizes, all alike.
        frame_rate_hz: of the frames.
        waveform: float32 [n], 16 kHz mono, -1..1.
    """
    pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        # One thread: corpora are made on several, and the encoder's own threads would change the bytes.
        # Without cpu-independent, x264's macroblock tree gave other bytes when two encoders ran beside each other.
        options = {"preset": "veryfast", "crf": "21", "x264-params": "cpu-independent=1"}
        video = container.add_stream("libx264", rate=frame_rate_hz, options=options)
        video.thread_count = 1
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=64_000)
        written = 0
        for number, rgb in enumerate(frames):
            if number == 0:
                video.height, video.width = rgb.shape[:2]
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            # Sound and picture lie side by side in the file, so that a reader never has to jump.
            until = (number + 1) * SAMPLE_RATE_HZ // frame_rate_hz
            while written + _AUDIO_CHUNK <= min(until, len(pcm)):
                container.mux(audio.encode(_audio_frame(pcm, written, written + _AUDIO_CHUNK)))
                written += _AUDIO_CHUNK
        container.mux(audio.encode(_audio_frame(pcm, written, len(pcm))) if written < len(pcm) else [])
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _audio_frame(pcm: np.ndarray, start: int, end: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(pcm[None, start:end], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
    return frame
