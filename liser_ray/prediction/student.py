"""A trained student in Python: load it, ask it, keep it, publish it."""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from liser_ray.media.waveform import check_audible, sound_start_s
from liser_ray.prediction.backend import Backend, OnnxBackend
from liser_ray.prediction.pieces import RunningStatistics, SlidingWindow, WholeRecording, step_samples
from liser_ray.prediction.prediction import Prediction, kept_labels, softmax
from liser_ray.prediction.sound import ArrayReader, file_blocks, in_blocks, open_sound, refuse_path
from liser_ray.prediction.stream import EmotionStream
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.student.card import CARD_FILE, WEIGHTS_FILE, StudentCard, model_card
from liser_ray.student.familiar import unlike
from liser_ray.student.front_end import EVALUATION_STRIDE_S, EVALUATION_STRIDE_SAMPLES, SAMPLE_RATE_HZ

_BLOCK_WINDOWS = 128
_HUB = "https://huggingface.co/"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")

Listen = Callable[[np.ndarray, float], None]


class Student:
    """A trained student that hears speech and names an emotion, made by `from_pretrained`.

    Attributes:
        labels: of its answers.
        card: all that is known of it.
        backend: what runs its network.
    """

    def __init__(self, backend: Backend, card: StudentCard, weights: bytes | None):
        self.card = card
        self.labels = card.labels
        self.backend = backend
        self._weights = weights  # None: of an ONNX file

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str = "cpu", n_threads: int = 0) -> "Student":
        """A student from where it was trained, kept or published.

        Args:
            source: a folder with ``student.safetensors`` and ``student.json`` (`train_student.py` writes one for each
                fold and seed, `save_pretrained` another); a folder of such folders, of which one of all speakers is
                taken, else the one with the highest validation UAR; an ``.onnx`` file, which needs no PyTorch; any of
                them as ``s3://…``; a repository of the Hugging Face hub as ``owner/name``, ``owner/name@revision`` or
                ``hf://owner/name``.
            device: of PyTorch; ONNX files run on the CPU.
            n_threads: for ONNX files; 0: all cores.

        Raises:
            UserError: there is nothing, or no student.
        """
        path = _local(str(source))
        if path.is_file():
            if path.suffix != ".onnx":
                raise UserError(f"{source} is no student: give its folder, or an .onnx file of `liser-ray export`.")
            return cls.from_onnx(path.read_bytes(), str(source), n_threads)
        folder = _best_below(path, str(source))
        card = StudentCard.parse((folder / CARD_FILE).read_bytes(), str(folder / CARD_FILE))
        try:
            weights = (folder / WEIGHTS_FILE).read_bytes()
        except OSError as error:
            raise UserError(f"{folder} has a card but no {WEIGHTS_FILE}: copy the whole folder.") from error
        try:
            from liser_ray.prediction.torch_backend import TorchBackend
        except ModuleNotFoundError as error:
            raise UserError(
                f"{source} needs PyTorch, which is not installed here. Install liser-ray[train], or write an ONNX file "
                f"where it is: liser-ray export --model {source}"
            ) from error
        return cls(TorchBackend(weights, card, device), card, weights)

    @classmethod
    def from_onnx(cls, model: bytes, where: str, n_threads: int = 0) -> "Student":
        """A student from the bytes of its ONNX file; see `OnnxBackend`."""
        backend = OnnxBackend(model, where, n_threads)
        return cls(backend, backend.card, None)

    def predict(
        self,
        waveform: np.ndarray,
        sample_rate_hz: int | None = None,
        step_s: float = EVALUATION_STRIDE_S,
        classes: Sequence[str] = (),
    ) -> Prediction:
        """What it says of a recording in memory.

        Args:
            waveform: float -1..1, or int16; [samples] or [channels, samples], whose mean is taken; at least 0.1 s.
            sample_rate_hz: of the waveform, which has to be said; it is resampled to 16 kHz.
            step_s: from 3-s window to window, a multiple of 0.1 s, which is the paper's.
            classes: labels to choose among; none: all.

        Raises:
            WaveformError: it is empty, shorter than 0.1 s, silent or not finite.
            ValueError: shape, type, range or rate are none of a waveform, or it is a file's name.
            UserError: another step, or other classes than the student's.
        """
        refuse_path(waveform)
        if sample_rate_hz is None:
            raise ValueError("predict needs the waveform's rate: predict(waveform, sample_rate_hz).")
        reader = ArrayReader(sample_rate_hz)
        sound = np.concatenate([reader.add(waveform), reader.finish()])
        check_audible(len(sound), float(np.abs(sound).max(initial=0)) * 32768)
        return self._predict(lambda: in_blocks(sound), step_s, classes)

    def predict_file(
        self,
        uri: str,
        step_s: float = EVALUATION_STRIDE_S,
        classes: Sequence[str] = (),
        listen: Listen | None = None,
    ) -> Prediction:
        """What it says of a file, in bounded memory however long it is.

        Args:
            uri: of a sound or video file in any format; a local path, ``file://…``, ``s3://…``, or ``-`` for standard
                input.
            step_s, classes: see `predict`.
            listen: is given the sound as it comes, float32 [n], 16 kHz, and the share of the file that is read, 0..1.

        Raises:
            WaveformError: it can't be read, or is empty, shorter than 0.1 s, silent or not finite.
            UserError: see `predict`.
        """
        with open_sound(str(uri)) as source:
            size_bytes = source.seek(0, os.SEEK_END)

            def blocks() -> Iterable[np.ndarray]:
                source.seek(0)
                return file_blocks(source)

            def heard(block: np.ndarray) -> None:
                if listen is not None:
                    listen(block, source.tell() / size_bytes)

            return replace(self._predict(blocks, step_s, classes, heard), start_s=sound_start_s(source))

    def stream(self, sample_rate_hz: int = 16_000, classes: Sequence[str] = ()) -> EmotionStream:
        """A stream to put chunks of sound of that rate into, which gives an estimate every 0.1 s; see `predict`."""
        return EmotionStream(self.backend, self.card, classes, sample_rate_hz)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights, card and a README (the model card) to a local folder, which `from_pretrained` takes.

        Raises:
            UserError: the student is of an ONNX file, which is all there is to keep.
        """
        folder = Path(folder)
        files = self._files(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Publish what `save_pretrained` writes on the Hugging Face hub; the repository is made if it is not there.

        Args:
            repo_id: ``owner/name``.
            private: if it is made now.
            token: with write access; None: of ``hf auth login`` or ``HF_TOKEN``.

        Returns:
            The address of the commit.

        Raises:
            UserError: see `save_pretrained`.
            huggingface_hub.errors.HfHubHTTPError: the hub refuses.
        """
        import huggingface_hub

        files = self._files(repo_id)
        api = huggingface_hub.HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [huggingface_hub.CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit(repo_id, operations, commit_message="A student of LiSER").commit_url

    def export_onnx(self, calibration: Sequence[np.ndarray] = ()) -> bytes:
        """The student as an ONNX file, see `liser_ray.prediction.onnx_export.export_onnx`.

        Args:
            calibration: recordings, float32 [n] at 16 kHz, for 8-bit integers; none: float32.

        Raises:
            UserError: see `save_pretrained`.
        """
        from liser_ray.prediction.onnx_export import export_onnx, quantise

        model = export_onnx(self._own_weights(), self.card)
        return quantise(model, calibration) if len(calibration) else model

    def _predict(
        self,
        blocks: Callable[[], Iterable[np.ndarray]],
        step_s: float,
        classes: Sequence[str],
        heard: Callable[[np.ndarray], None] = lambda block: None,
    ) -> Prediction:
        step = step_samples(step_s)
        kept = kept_labels(self.labels, classes)
        statistics = None
        if self.card.of_recording:
            running = RunningStatistics(self.backend)
            for block in blocks():
                running.add(block)
            statistics = running.now()
        n_windows = max(1, _BLOCK_WINDOWS * EVALUATION_STRIDE_SAMPLES // step)
        windows, recording = SlidingWindow(step, n_windows), WholeRecording(self.backend, self.card.network.chunks)
        answers, n_samples = [], 0
        for block in blocks():
            n_samples += len(block)
            heard(block)
            recording.add(block)
            answers += [self.backend.window_logits(some, step, statistics) for some in windows.add(block)]
        answers += [self.backend.window_logits(some, step, statistics) for some in windows.finish()]
        by_window, whole = np.concatenate(answers), recording.logits(statistics)
        if whole is None:
            whole = by_window.mean(axis=0)
        names, first = self.card.attributes, len(self.labels)
        return Prediction(
            tuple(self.labels[i] for i in kept),
            softmax(whole[kept] / self.card.temperature),
            softmax(by_window[:, kept] / self.card.temperature),
            step_s,
            n_samples / SAMPLE_RATE_HZ,
            attributes=dict(zip(names, whole[first:].tolist(), strict=True)),
            window_attributes=dict(zip(names, by_window[:, first:].T, strict=True)),
            unlike=() if statistics is None else unlike(statistics, self.card.content.get("heard", {})),
        )

    def _files(self, name: str) -> dict[str, bytes]:
        card = json.dumps(self.card.content, indent=1) + "\n"
        readme = model_card(self.card, name)
        return {WEIGHTS_FILE: self._own_weights(), CARD_FILE: card.encode(), "README.md": readme.encode()}

    def _own_weights(self) -> bytes:
        if self._weights is None:
            raise UserError("This student is an ONNX file: copy it as it is, or load the folder that it was made from.")
        return self._weights


def _local(source: str) -> Path:
    if source.startswith(("s3://", "hf://")):
        return _fetched(source)
    if source.startswith(_HUB):
        raise UserError(f"{source}: of the Hugging Face hub give {source.removeprefix(_HUB)}, owner and name alone.")
    path = Path(absolute(source) if "://" in source else source)
    if path.exists():
        return path
    if _HUB_NAME.fullmatch(source) and not source.startswith(".") and path.suffix != ".onnx":
        try:
            return _fetched(f"hf://{source}")
        except ModuleNotFoundError as error:
            raise UserError(
                f"There is no student at {source} here. To look on the Hugging Face hub, install liser-ray[train]."
            ) from error
        except UserError as error:
            raise UserError(
                f"There is no student at {source} here, and none came from the Hugging Face hub: {error}"
            ) from error
    raise UserError(
        f"There is no student at {source}. Train one with jobs/train_student.py, which writes it to "
        "out/student/seed-*-fold-*, or give a folder, an .onnx file, s3://… or owner/name on the Hugging Face hub."
    )


def _fetched(address: str) -> Path:
    from liser_ray.storage.fetch import fetch  # PyArrow, for those who have something there

    return fetch(address, "A student is a folder with student.json and student.safetensors, or an .onnx file.")


def _best_below(folder: Path, source: str) -> Path:
    """The folder itself if a student is in it, else the one below it that has learned from all speakers.

    If there is none, the one that did best on its validation speakers.
    """
    if (folder / CARD_FILE).exists():
        return folder
    cards = sorted(folder.glob(f"*/{CARD_FILE}"))
    if not cards:
        raise UserError(f"There is no student in {source}: no {CARD_FILE} in it or in the folders below it.")

    def rank(path: Path) -> tuple[bool, float]:
        card = StudentCard.parse(path.read_bytes(), str(path))
        agreements = [one.get("validation_ccc") or 0.0 for one in card.content.get("attributes", {}).values()]
        uar = card.content.get("validation_uar") or 0.0  # None: no speakers, or no labels
        return card.of_all_speakers, uar or sum(agreements)

    return max(cards, key=rank).parent
