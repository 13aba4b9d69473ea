"""``liser-ray demo-app``: a page to try a student in the browser, served to this machine alone."""

import argparse
import io
import os
import socket
from collections import deque
from typing import Any

import numpy as np

from liser_ray.commands.model import add_model_arguments, load_student
from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.prediction import Prediction
from liser_ray.prediction.stream import Estimate
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError

DESCRIPTION = """\
Open a page on this machine to try a student: speak and see what it hears while you do, or upload a recording and see
the emotions over time.

  liser-ray demo-app                     http://127.0.0.1:7860, for this machine alone
  liser-ray demo-app --port 8000 --model owner/name

It works without a network; nothing that is uploaded leaves the machine. Needs Gradio: pip install liser-ray[app].
"""

_HOST = "127.0.0.1"
_DRAWN_S = 30
_PER_S = 10  # estimates
_DRAWN_EACH = 5  # of them: a picture takes 0.1 s, as long as the sound of each call (Gradio 6.31), which must not wait
_NOTE = """\
# Speech emotions
The student hears 3 s at a time and names one of: {labels}. Its answers are what listeners or actors called such speech
in its training recordings, not what a person feels.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_arguments(parser)
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0: any that is free")


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    serve(load_student(options), options.port)
    return 0


def warning(prediction: Prediction) -> str:
    """Markdown that says in what a recording is unlike the training's; "" if it is like them."""
    if not prediction.unlike:
        return ""
    return f"**Unlike the training**, so do not rely on the answer: {'; '.join(prediction.unlike)}."


class Listener:
    """What a student says of what somebody is saying, and of the last half minute what there is to draw.

    Attributes:
        labels: of the estimates' probabilities.
        estimates: the last ones, oldest first; none before the first 3 s.
    """

    def __init__(self, student: Student, sample_rate_hz: int):
        self._stream = student.stream(sample_rate_hz)
        self._n_drawn = self._n_heard = 0
        self.labels = self._stream.labels
        self.estimates: deque[Estimate] = deque(maxlen=_DRAWN_S * _PER_S)

    def hear(self, samples: np.ndarray) -> bool:
        """Whether it is time to draw again, after the next sound, int16 [n] or [n, channels] as Gradio has it."""
        estimates = self._stream.add(samples.T)
        self.estimates.extend(estimates)
        self._n_heard += len(estimates)
        is_time = self._n_heard - self._n_drawn >= _DRAWN_EACH
        if is_time:
            self._n_drawn = self._n_heard
        return is_time

    @property
    def now(self) -> dict[str, float]:
        """Probabilities of the last 3 s, by label."""
        return dict(zip(self.labels, self.estimates[-1].probabilities.tolist(), strict=True))


def serve(student: Student, port: int, block: bool = True) -> str:
    """Serve the page until Ctrl-C, or by threads (``block`` off); its address.

    Raises:
        UserError: a student without labels, no Gradio, or a port (0: any that is free) that can't be had.
    """
    if len(student.labels) < 2:
        raise UserError(
            "The page shows emotions, and this student gives attributes alone: ask it by liser-ray predict or listen."
        )
    try:
        import gradio
        from PIL import Image

        from liser_ray.prediction.plot import Overview, listening_plot, prediction_plot
    except ModuleNotFoundError as error:
        raise UserError(f"The page needs what is not installed ({error}): pip install 'liser-ray[app]'") from error

    def answer(path: str | None) -> tuple[dict[str, float] | None, Image.Image | None, str]:
        if path is None:
            return None, None, ""
        overview = Overview(student.backend)
        try:
            prediction = student.predict_file(path, listen=lambda sound, share: overview.add(sound))
        except WaveformError as error:
            raise gradio.Error(f"This recording can't be used: {error}") from error
        picture = Image.open(io.BytesIO(prediction_plot(overview, prediction, os.path.basename(path))))
        return prediction.as_dict, picture, warning(prediction)

    def listen(listener: Listener | None, chunk: tuple[int, np.ndarray] | None) -> tuple[Any, ...]:
        if chunk is None:
            return listener, gradio.skip(), gradio.skip()
        listener = listener or Listener(student, chunk[0])
        if not listener.hear(chunk[1]):
            return listener, gradio.skip(), gradio.skip()
        drawn = listening_plot(listener.labels, listener.estimates, _DRAWN_S)
        return listener, listener.now, Image.open(io.BytesIO(drawn))

    # Gradio keeps what is sent and drawn in files: every minute those go that are older than ten, at the end all.
    with gradio.Blocks(title="LiSER", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown(_NOTE.format(labels=", ".join(student.labels)))
        with gradio.Tab("A recording"):
            with gradio.Row():
                with gradio.Column():
                    sound = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Speech")
                    warned = gradio.Markdown()
                label = gradio.Label(label="Emotion", num_top_classes=len(student.labels))
            picture = gradio.Image(label="Over time", interactive=False, buttons=["fullscreen", "download"])
            sound.change(answer, sound, [label, picture, warned], api_name="predict")
        with gradio.Tab("While you speak"):
            with gradio.Row():
                spoken = gradio.Audio(sources=["microphone"], type="numpy", streaming=True, label="Microphone")
                now = gradio.Label(label="The last 3 seconds", num_top_classes=len(student.labels))
            curves = gradio.Image(label="The last half minute", interactive=False, buttons=[])
            listener = gradio.State()
            # Not at the start: its first sound may be there before what is to come before it.
            spoken.stop_recording(lambda: None, None, listener, api_visibility="private")
            spoken.stream(
                listen,
                [listener, spoken],
                [listener, now, curves],
                show_progress="hidden",
                api_visibility="private",
            )

    if port == 0:
        with socket.socket() as free:
            free.bind((_HOST, 0))
            port = free.getsockname()[1]
    # Fonts of the system: the defaults come from the network.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        _, address, _ = page.launch(
            server_name=_HOST,
            server_port=port,
            theme=theme,
            max_file_size="500mb",
            prevent_thread_lock=True,
            quiet=True,  # it would offer a public link
        )
    except (OSError, OverflowError) as error:  # taken, not for this user, or no port's number
        raise UserError(f"Port {port} can't be had; name another one with --port.") from error
    if block:
        print(f"The page is at {address}, for this machine alone, until Ctrl-C", flush=True)
        page.block_thread()
    return address
