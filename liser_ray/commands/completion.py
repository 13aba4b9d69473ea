"""``liser-ray completion``: what a shell needs to complete commands, options and their choices by itself."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

DESCRIPTION = """\
Print a script with which the shell completes commands, options and choices. It starts nothing when a key is pressed;
after an upgrade write it again.

  liser-ray completion bash > ~/.local/share/bash-completion/completions/liser-ray
  liser-ray completion zsh > ~/.zfunc/_liser-ray      # with fpath+=(~/.zfunc) before compinit in ~/.zshrc
  liser-ray completion fish > ~/.config/fish/completions/liser-ray.fish

Options of the jobs are in it where the jobs are installed (`pip install liser-ray[train]`).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    """Print the script for ``options.shell``.

    The command line adds ``parser``, its own, in which jobs have no options yet, and ``jobs``, their modules by the
    names of their commands.
    """
    import shtab  # for those who ask

    parser: argparse.ArgumentParser = options.parser
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    of_option: dict[str, Any] = {}
    try:
        from jsonargparse import capture_parser

        from liser_ray.student.training.recipes import recipe_names

        of_option["--recipe"] = _names_or_files("recipe", recipe_names())
        for name, module in options.jobs.items():
            _add_options(commands.choices[name], capture_parser(import_module(module).main, []))
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed here: pip install liser-ray[train]"
        print(f"Without the options of jobs, since {missing}", file=sys.stderr)
    for one in (parser, *commands.choices.values()):
        for action in one._actions:
            if action.choices is None and action.nargs != 0:
                found = (of_option[name] for name in action.option_strings if name in of_option)
                action.complete = next(found, shtab.FILE)
    script = shtab.complete(parser, options.shell)
    print(re.sub(r"^# Usage:\n(#.*\n)+", "", script, flags=re.MULTILINE))  # which names other files than our help
    return 0


def _names_or_files(what: str, names: Sequence[str]) -> dict[str, Any]:
    """What `shtab` takes for an option whose value is one of these names, or a file."""
    words, function = " ".join(names), f"_liser_ray_{what}_or_file"
    return {
        "bash": function,
        "zsh": function,
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f'{function}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}\n',
            "zsh": f"{function}() {{ _alternative '{what}s:{what}:({words})' 'files:file:_files' }}\n",
        },
    }


def _add_options(command: argparse.ArgumentParser, job: argparse.ArgumentParser) -> None:
    for action in job._actions:
        # What jsonargparse knows of choices ("{best,last}", "{true,false}") stands in its metavar alone.
        shown = action.metavar if isinstance(action.metavar, str) else ""
        choices = shown[1:-1].split(",") if shown.startswith("{") else None
        options = [one for one in action.option_strings if not one.endswith("+")]  # "--space+" adds to a file's
        if options and "--help" not in options and action.help != argparse.SUPPRESS:
            command.add_argument(*options, choices=choices, help=_one_line(action.help))


def _one_line(text: str | None) -> str:
    """How a help begins: shells show one line."""
    return re.split(r"[.;:] | \(", text or "")[0].replace("%", "%%")
