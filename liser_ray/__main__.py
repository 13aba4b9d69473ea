"""``python -m liser_ray``, installed as ``liser-ray``: use a trained student. What trains one is in ``jobs/``."""

import argparse
import sys
from collections.abc import Sequence

from liser_ray.commands import corpora, demo_app, export, listen, predict
from liser_ray.runtime.errors import UserError
from liser_ray.runtime.exits import run

DESCRIPTION = """\
Use a trained student of LiSER: a network of 100 thousand parameters that hears speech and names an emotion.
`liser-ray COMMAND --help` has examples.
"""

_COMMANDS = {
    "predict": (predict, "name the emotion in recordings"),
    "listen": (listen, "name the emotion in what a microphone hears"),
    "export": (export, "write a student as an ONNX file, which runs without PyTorch"),
    "corpora": (corpora, "say which labeled set lies in a folder, and what is in it"),
    "demo-app": (demo_app, "open a page to try a student in the browser"),
}


def command(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments name and end the process with its exit code."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="liser-ray", description=DESCRIPTION, formatter_class=as_written)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, summary) in _COMMANDS.items():
        one = commands.add_parser(name, help=summary, description=module.DESCRIPTION, formatter_class=as_written)
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    options, others = parser.parse_known_args(argv)
    # Files behind an option (`predict a.wav --json b.wav`), which argparse leaves over.
    if others and (not hasattr(options, "files") or any(one.startswith("-") for one in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        options.files += others
    try:
        sys.exit(options.run(options))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("liser_ray"):
            raise
        raise UserError(
            f"{error.name} is not installed here, and this needs it: pip install liser-ray[train]"
        ) from error


def main() -> None:
    """The installed command."""
    run(command, interrupted="Interrupted.")


if __name__ == "__main__":
    main()
