"""The naive way to label, which `label_stages.py` measures ours against: what one writes first, library call by call.

OpenCV's frame loop, `DeepFace.extract_faces` on every frame, Silero VAD through its library, each teacher on one window
at a time. It does less (no cuts, no following of one person, no common frame rate, no checks) and is still what a
first script does.
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import torch
from silero_vad import get_speech_timestamps, load_silero_vad
from transformers import HubertForSequenceClassification, Wav2Vec2FeatureExtractor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.clips import CROP_PX
from liser_ray.teachers.mobilefacenet import MobileFaceNet
from liser_ray.teachers.s2d import VideoTransformer
from liser_ray.teachers.s2d_teacher import s2d_forward

if find_spec("werkzeug") is None:
    # DeepFace 0.0.103 imports this web library without asking for it, to ask `isinstance` of one class.
    stand_in = ModuleType("werkzeug.datastructures")
    stand_in.FileStorage = type("FileStorage", (), {})  # type: ignore[attr-defined]
    sys.modules |= {"werkzeug": ModuleType("werkzeug"), "werkzeug.datastructures": stand_in}

from deepface import DeepFace

_vad = load_silero_vad()
_extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=True)


def pictures(path: Path, end_s: float) -> Iterator[np.ndarray]:
    """The recording's own frames up to a time: uint8 [height, width, 3], BGR."""
    # One thread as for ours; OpenCV would take one per core.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        for _ in range(round(end_s * capture.get(cv2.CAP_PROP_FPS))):
            found, picture = capture.read()
            if not found:
                return
            yield picture
    finally:
        capture.release()


def sound(path: Path, end_s: float) -> np.ndarray:
    """The sound up to a time, decoded from start to end (OpenCV has none): int16 [n], 16 kHz mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    parts = []
    with av.open(str(path)) as container:
        container.streams.audio[0].codec_context.thread_count = 1
        for frame in container.decode(audio=0):
            if frame.time is not None and frame.time >= end_s:
                break
            parts += [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]
    return np.concatenate(parts)


def largest_face(picture: np.ndarray) -> np.ndarray:
    """The largest face, upright, stretched to the teacher's size: float64 [224, 224, 3], RGB, 0..1.

    A picture without a face comes back whole, as DeepFace has it.
    """
    faces = DeepFace.extract_faces(picture, detector_backend="yunet", align=True, enforce_detection=False)
    face = max(faces, key=lambda face: face["facial_area"]["w"])["face"]
    return cv2.resize(face, (CROP_PX, CROP_PX))


def speech_fraction(pcm: np.ndarray) -> float:
    """Share of int16 [n] at 16 kHz that is speech, 0..1."""
    stretches = get_speech_timestamps(torch.from_numpy(pcm).float() / 32768, _vad)
    return sum(stretch["end"] - stretch["start"] for stretch in stretches) / len(pcm)


def video_softmax(transformer: VideoTransformer, landmarks: MobileFaceNet, clip: np.ndarray) -> np.ndarray:
    """The video teacher on one clip, uint8 [16, 224, 224, 3]: float32 [K]."""
    with torch.no_grad():
        logits, _ = s2d_forward(transformer, landmarks, torch.from_numpy(clip[None]))
        return logits.softmax(dim=1)[0].numpy()


def speech_softmax(model: HubertForSequenceClassification, window: np.ndarray) -> np.ndarray:
    """The speech teacher on one window, float32 [8000], -1..1: float32 [K]."""
    inputs = _extractor(window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.softmax(dim=-1)[0].numpy()
