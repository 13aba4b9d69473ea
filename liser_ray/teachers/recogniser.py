"""A speech recogniser of Transformers: what is said, as text."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSpeechSeq2Seq

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.speech_inputs import LONGEST_S, read_extractor
from liser_ray.teachers.transformers_folders import quiet, read_classifier, read_tokenizer
from liser_ray.teachers.weights import listed
from liser_ray.training.precision import Precision, mixed

_HINT = "Give the folder, s3:// or hf:// address of a speech recogniser: --transcribe hf://openai/whisper-tiny.en."
_BATCH = 8  # pieces: a decoder's cost lies in its steps, which these share
_MOST_TOKENS = 224  # of a piece: half of Whisper's context, as in OpenAI's own code


class Recogniser:
    """A model that writes down what it hears, such as Whisper, on one device.

    Args:
        folder: of Transformers, with its feature extractor and its tokenizer.
        device: where it runs.
        precision: of the matrix products, where the device has it (`able_precision`).

    Attributes:
        sha256: of the folder.

    Raises:
        UserError: the folder holds no such model, or lacks a part of it.
    """

    def __init__(self, folder: Path, device: torch.device, precision: Precision):
        what = "a speech recogniser"
        model, missing, unexpected = read_classifier(AutoModelForSpeechSeq2Seq, folder, what, device)
        if differ := sorted(missing) or sorted(unexpected):
            does = "lacks weights of" if missing else "has weights that have no place in"
            raise UserError(f"{folder} {does} {what}: {listed(differ)}. {_HINT}")
        self._model: Any = model
        self._extractor, self._tokenizer = read_extractor(folder), read_tokenizer(folder)
        self._device, self._precision = device, precision
        self.sha256 = sha256(folder)

    @torch.inference_mode()
    def __call__(self, sounds: Sequence[np.ndarray]) -> list[str]:
        """What is said in each of N sounds, int16 [n], 16 kHz mono, by the likeliest next piece of a word each time.

        Sounds of more than 30 s are heard in equal pieces of at most that.
        """
        most = round(LONGEST_S * SAMPLE_RATE_HZ)
        pieces = [np.array_split(sound, max(1, -(-len(sound) // most))) for sound in sounds]
        together = [piece.astype(np.float32) / 32768 for of_sound in pieces for piece in of_sound]
        said: list[str] = []
        for start in range(0, len(together), _BATCH):
            heard = self._extractor(
                together[start : start + _BATCH], sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
            ).to(self._device)
            with mixed(self._device, self._precision), quiet():
                tokens = self._model.generate(**heard, max_new_tokens=_MOST_TOKENS, do_sample=False, num_beams=1)
            said += self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        words = iter(said)
        return [" ".join(" ".join(islice(words, len(of_sound))).split()) for of_sound in pieces]


def load_recogniser(address: str, device: torch.device, precision: Precision = "float32") -> Recogniser:
    """The recogniser at a path, ``s3://`` or ``hf://`` address."""
    return Recogniser(fetch(address, _HINT), device, precision)
