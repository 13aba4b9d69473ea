"""``python -m liser_ray``, installed as ``liser-ray``: the jobs, and what uses a trained student."""

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module

from liser_ray import __version__
from liser_ray.commands import completion, corpora, demo_app, export, listen, predict
from liser_ray.runtime.errors import UserError
from liser_ray.runtime.exits import run

DESCRIPTION = """\
Label recordings of people talking with large teachers, train a student of 100 thousand parameters that hears speech and
names an emotion, and use it. `liser-ray COMMAND --help` has examples.
"""

_JOBS = {
    "demo": ("demo", "all of it on a small generated corpus, in minutes"),
    "tune": ("finetune_speech_teacher", "tune speech teachers, one per fold"),
    "tune-prosody": ("finetune_prosody_teacher", "train teachers that hear prosody"),
    "tune-words": ("finetune_words_teacher", "tune teachers that read what is said"),
    "label": ("label_corpus", "let teachers label recordings, into a table"),
    "report": ("report_corpus", "make the page on such a table again"),
    "search": ("tune_lambdas", "find the weights of the teachers' terms"),
    "train": ("train_student", "train students, one per fold and seed"),
    "evaluate": ("evaluate", "score a classifier on labeled speech, in noise too"),
    "reproduce": ("reproduce_tables", "train all rows of the papers' tables"),
}
"""Of each command the module in `liser_ray.jobs`, which is a script in ``jobs/`` too, and what it does."""

_COMMANDS = {
    "predict": (predict, "name the emotion in recordings"),
    "listen": (listen, "name the emotion in what a microphone hears"),
    "export": (export, "write a student as an ONNX file, which runs without PyTorch"),
    "corpora": (corpora, "say which labeled set lies in a folder, and what is in it"),
    "demo-app": (demo_app, "open a page to try a student in the browser"),
    "completion": (completion, "print what lets a shell complete all of this"),
}


def command(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments name and end the process with its exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given and given[0] in _JOBS:
        _run_job(given[0], given[1:])
        return
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="liser-ray", description=DESCRIPTION, formatter_class=as_written)
    parser.add_argument("--version", action="version", version=f"liser-ray {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    jobs = {name: f"liser_ray.jobs.{module}" for name, (module, _) in _JOBS.items()}
    for name, (_, summary) in _JOBS.items():
        commands.add_parser(name, help=summary)
    for name, (module, summary) in _COMMANDS.items():
        one = commands.add_parser(name, help=summary, description=module.DESCRIPTION, formatter_class=as_written)
        module.add_arguments(one)
        one.set_defaults(run=module.run, parser=parser, jobs=jobs)
    options, others = parser.parse_known_args(given)
    # Files behind an option (`predict a.wav --json b.wav`), which argparse leaves over.
    if others and (not hasattr(options, "files") or any(one.startswith("-") and one != "-" for one in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        options.files += others
    try:
        sys.exit(options.run(options))
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error


def _run_job(name: str, arguments: Sequence[str]) -> None:
    sys.argv = [f"liser-ray {name}", *arguments]  # so that its help calls it so
    try:
        import_module(f"liser_ray.jobs.{_JOBS[name][0]}").main()
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error


def _not_installed(error: ModuleNotFoundError) -> Exception:
    if (error.name or "").startswith("liser_ray"):
        return error
    return UserError(f"{error.name} is not installed here, and this needs it: pip install liser-ray[train]")


def main() -> None:
    """The installed command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name, or a bar, that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    goes_on = sys.argv[1:2] and sys.argv[1] in _JOBS and sys.argv[1] != "evaluate"
    run(command) if goes_on else run(command, interrupted="Interrupted.")


if __name__ == "__main__":
    main()
