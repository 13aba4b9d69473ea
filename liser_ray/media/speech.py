"""How much of a span is speech: Silero VAD, read from the package's ONNX file without torch.

The media child has OpenCV and onnxruntime loaded already. The library's own entry points import torch, which adds
about 460 MB of memory and seconds of start time to every child, and every child that crashed starts anew. So the
network's file is run directly, with the library's default rules for what counts as a stretch of speech.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime

from liser_ray.media.audio import SAMPLE_RATE_HZ

FRAME_SAMPLES = 512  # one probability every 32 ms
_CONTEXT_SAMPLES = 64  # each frame is seen with the end of the one before it
_FRAMES_PER_CALL = 512  # a whole 16-s span (500 frames) in one call; longer audio goes on with the carried state

# The defaults of the library's `get_speech_timestamps`.
SPEECH_STARTS_AT = 0.5
SPEECH_ENDS_BELOW = 0.35
_MIN_SPEECH_SAMPLES = SAMPLE_RATE_HZ * 250 // 1000
_MIN_SILENCE_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000
_PAD_SAMPLES = SAMPLE_RATE_HZ * 30 // 1000


def speech_stretches(pcm: np.ndarray) -> np.ndarray:
    """Where speech begins and ends in sound (int16 [n], 16 kHz mono): int32 [S, 2], in samples, in order.

    A pure function of the samples: the network's state starts at zero in every call, on one thread.
    """
    found = stretches_of(speech_probabilities(pcm), len(pcm)) if len(pcm) else []
    return np.array(found, np.int32).reshape(-1, 2)


def speech_shares(stretches: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """The share of each window that is speech, float32 [W], 0..1.

    Args:
        stretches: int [S, 2], of `speech_stretches`.
        starts: int [W], first samples of the windows.
        length: of all windows, in samples, 1 or more.
    """
    begin = np.maximum(stretches[None, :, 0], starts[:, None])
    end = np.minimum(stretches[None, :, 1], starts[:, None] + length)
    return (np.maximum(0, end - begin).sum(axis=1) / length).astype(np.float32)


def speech_probabilities(pcm: np.ndarray) -> np.ndarray:
    """Silero VAD's probability of speech (float32 [ceil(n / 512)], 0..1) in each frame of 32 ms of int16 [n] at 16 kHz.

    The last frame is filled up with zeros.
    """
    n_frames = -(-len(pcm) // FRAME_SAMPLES)
    samples = np.zeros(_CONTEXT_SAMPLES + n_frames * FRAME_SAMPLES, np.float32)
    samples[_CONTEXT_SAMPLES : _CONTEXT_SAMPLES + len(pcm)] = pcm
    samples /= 32768
    frames = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT_SAMPLES + FRAME_SAMPLES)[::FRAME_SAMPLES]

    state = {"h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    probabilities = [np.zeros(0, np.float32)]
    for first in range(0, n_frames, _FRAMES_PER_CALL):
        block = np.ascontiguousarray(frames[first : first + _FRAMES_PER_CALL])
        speech, state["h"], state["c"] = _session().run(["speech_probs", "hn", "cn"], {"input": block, **state})
        probabilities.append(speech.reshape(-1))
    return np.concatenate(probabilities)


def stretches_of(probabilities: np.ndarray, n_samples: int) -> list[tuple[int, int]]:
    """Stretches of speech, by the rules and defaults of the library's `get_speech_timestamps`.

    Speech starts with a frame at 0.5 or above and ends where 0.1 s pass without getting back there, counted from the
    first frame below 0.35; what lasts 0.25 s or less is dropped, and 30 ms are added on both sides.

    Returns:
        (start, end) of each stretch in samples of the audio, in order, without overlap.
    """
    return [
        (max(0, start - _PAD_SAMPLES), min(n_samples, end + _PAD_SAMPLES))
        for start, end in _unpadded(probabilities, n_samples)
        if end - start > _MIN_SPEECH_SAMPLES
    ]


def _unpadded(probabilities: np.ndarray, n_samples: int) -> Iterator[tuple[int, int]]:
    start: int | None = None
    silent_since: int | None = None
    for frame, probability in enumerate(probabilities.tolist()):
        now = frame * FRAME_SAMPLES
        if probability >= SPEECH_STARTS_AT:
            start = now if start is None else start
            silent_since = None
        elif probability < SPEECH_ENDS_BELOW and start is not None:
            silent_since = now if silent_since is None else silent_since
            if now - silent_since >= _MIN_SILENCE_SAMPLES:
                yield start, silent_since
                start = silent_since = None
    if start is not None:
        yield start, n_samples  # a silence at the very end was too short to count


@cache
def _session() -> onnxruntime.InferenceSession:
    package = find_spec("silero_vad")  # finds the folder without importing the package, and torch with it
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("silero-vad is not installed: pip install silero-vad")
    options = onnxruntime.SessionOptions()
    # One thread: the pool of media children is what fills the cores, and sums keep their order.
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    path = Path(package.submodule_search_locations[0], "data", "silero_vad_16k_sequence.onnx")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
