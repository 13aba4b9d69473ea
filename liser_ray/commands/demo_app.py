"""``liser-ray demo-app``: a page to try a student in the browser, served to this machine alone."""

import argparse
import io
import os
import socket

from liser_ray.commands.model import add_model_arguments, load_student
from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.prediction import Prediction
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError

DESCRIPTION = """\
Open a page on this machine to try a student: upload a file or record with the microphone, see the emotions over time.

  liser-ray demo-app                     http://127.0.0.1:7860, for this machine alone
  liser-ray demo-app --port 8000 --model owner/name

It works without a network; nothing that is uploaded leaves the machine. Needs Gradio: pip install liser-ray[app].
"""

_HOST = "127.0.0.1"
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


def serve(student: Student, port: int, block: bool = True) -> str:
    """Serve the page until Ctrl-C, or by threads (``block`` off); its address.

    Raises:
        UserError: no Gradio, or the port (0: any that is free) is taken.
    """
    try:
        import gradio
        from PIL import Image

        from liser_ray.prediction.plot import Overview, prediction_plot
    except ModuleNotFoundError as error:
        raise UserError(f"The page needs Gradio ({error}): pip install liser-ray[app]") from error

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

    with gradio.Blocks(title="LiSER", analytics_enabled=False) as page:
        gradio.Markdown(_NOTE.format(labels=", ".join(student.labels)))
        with gradio.Row():
            with gradio.Column():
                sound = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Speech")
                warned = gradio.Markdown()
            label = gradio.Label(label="Emotion", num_top_classes=len(student.labels))
        picture = gradio.Image(label="Over time", interactive=False)
        sound.change(answer, sound, [label, picture, warned], api_name="predict")

    if port == 0:
        with socket.socket() as free:
            free.bind((_HOST, 0))
            port = free.getsockname()[1]
    # Fonts of the system: the defaults come from the network.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    quiet = not block
    try:
        _, address, _ = page.launch(
            server_name=_HOST,
            server_port=port,
            theme=theme,
            max_file_size="500mb",
            prevent_thread_lock=quiet,
            quiet=quiet,
        )
    except OSError as error:
        raise UserError(f"Port {port} is taken; name another one with --port.") from error
    return address
