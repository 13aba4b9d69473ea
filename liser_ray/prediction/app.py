"""A page to try a student: upload or record, see the emotions over time. Served to this machine alone."""

import io
import os
import socket

import gradio
from PIL import Image

from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.plot import Overview, prediction_plot
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError

_HOST = "127.0.0.1"
_MAX_FILE = "500mb"
_NOTE = """\
The student hears 3 s at a time and names one of: {labels}. Its answers are what listeners or actors called such speech
in its training recordings, not what a person feels.
"""


def make_page(student: Student) -> gradio.Blocks:
    """The page of a student, not served yet."""

    def answer(path: str | None) -> tuple[dict[str, float] | None, Image.Image | None]:
        if path is None:
            return None, None
        overview = Overview(student.backend)
        try:
            prediction = student.predict_file(path, listen=lambda sound, share: overview.add(sound))
        except WaveformError as error:
            raise gradio.Error(f"This recording can't be used: {error}") from error
        picture = Image.open(io.BytesIO(prediction_plot(overview, prediction, os.path.basename(path))))
        return prediction.as_dict, picture

    with gradio.Blocks(title="LiSER", analytics_enabled=False) as page:
        gradio.Markdown(f"# Speech emotions\n{_NOTE.format(labels=', '.join(student.labels))}")
        with gradio.Row():
            sound = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Speech")
            label = gradio.Label(label="Emotion", num_top_classes=len(student.labels))
        picture = gradio.Image(label="Over time", interactive=False)
        sound.change(answer, sound, [label, picture], api_name="predict")
    return page


def serve(student: Student, port: int, block: bool = True) -> str:
    """Serve the page until Ctrl-C.

    Args:
        student: to try.
        port: to listen at; 0: any that is free.
        block: else it is served by threads, and the call returns.

    Returns:
        Its address.

    Raises:
        UserError: the port is taken.
    """
    if port == 0:
        with socket.socket() as free:
            free.bind((_HOST, 0))
            port = free.getsockname()[1]
    # Fonts of the system: the defaults come from the network.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        _, address, _ = make_page(student).launch(
            server_name=_HOST,
            server_port=port,
            theme=theme,
            max_file_size=_MAX_FILE,
            prevent_thread_lock=not block,
            quiet=not block,
        )
    except OSError as error:
        raise UserError(f"Port {port} is taken; name another one with --port.") from error
    return address
