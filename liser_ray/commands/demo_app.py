"""``liser-ray demo-app``: a page to try a student in the browser."""

import argparse

from liser_ray.commands.model import add_model_arguments, load_student
from liser_ray.runtime.errors import UserError

DESCRIPTION = """\
Open a page on this machine to try a student: upload a file or record with the microphone, see the emotions over time.

  liser-ray demo-app                     http://127.0.0.1:7860, for this machine alone
  liser-ray demo-app --port 8000 --model owner/name

It works without a network; nothing that is uploaded leaves the machine. Needs Gradio: pip install liser-ray[app].
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_arguments(parser)
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0: any that is free")


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: no Gradio, no student, or the port is taken.
    """
    student = load_student(options)
    try:
        from liser_ray.prediction import app
    except ModuleNotFoundError as error:
        raise UserError(f"The page needs Gradio ({error}): pip install liser-ray[app]") from error
    app.serve(student, options.port)
    return 0
