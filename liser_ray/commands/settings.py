"""Settings of a job from its command line: dataclasses, and files with the same names."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from liser_ray.runtime.errors import UserError

T = TypeVar("T")


def parse_settings(
    settings: type[T],
    description: str,
    argv: Sequence[str] | None = None,
    bare: Mapping[str, str] | None = None,
    lists: Sequence[str] = (),
    defaults: Callable[[Any], Mapping[str, Any]] = lambda given: {},
) -> T:
    """Settings from ``--config FILE.yaml``, perhaps on S3, and ``--name value``, ``--group.name value`` over them.

    Args:
        settings: a frozen dataclass, perhaps of others; its docstring is the help.
        description: first lines of ``--help``.
        argv: arguments; None: those of the process.
        bare: options that may stand without a value, as those that are true or false do, and the value they then have.
        lists: options that take one or more values, as a shell's globs give them.
        defaults: from what is given to defaults that follow from it, by names with dots; what is given comes before.

    Raises:
        UserError: a value that a dataclass refuses.
    """
    usage = "%(prog)s [--config FILE.yaml] [--NAME VALUE ...]"  # all names would be a wall before an error
    parser = ArgumentParser(usage=usage, description=description, formatter_class=_HelpFormatter)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below.")
    parser.add_class_arguments(settings)
    alone = dict.fromkeys(_switches(settings), "true") | dict(bare or {})
    arguments = _spelled_out(sys.argv[1:] if argv is None else argv, alone, lists)
    # Who wants the settings printed wants those that follow too, and the parser prints them as it reads the first time.
    parsed = parser.parse_args([one for one in arguments if not one.startswith("--print_config")])
    following = dict(defaults(parsed))
    parsed = parser.parse_args(["--config", json.dumps(following), *arguments])  # so they are checked too
    values = vars(parser.instantiate_classes(parsed))
    return settings(**{one.name: values[one.name] for one in fields(cast("Any", settings))})


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of the description, so that its commands can be read and copied."""


def _switches(settings: type[Any], before: str = "--") -> Iterator[str]:
    """The options that are true or false."""
    for name, of in get_type_hints(settings).items():
        if of is bool:
            yield before + name
        elif is_dataclass(of):
            yield from _switches(cast("type[Any]", of), f"{before}{name}.")


def _spelled_out(arguments: Sequence[str], bare: Mapping[str, str], lists: Sequence[str]) -> list[str]:
    """Options that stand alone get their value, and several values become one JSON list."""
    groups: list[list[str]] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in (*lists, "--config"):
            groups.append([name, value])
        elif argument.startswith("--") or not groups:
            groups.append([argument])
        else:
            groups[-1].append(argument)
    for name in lists:
        if sum(group[0] == name for group in groups) > 1:
            raise UserError(f"{name} is given twice, and only the last would count: give all its values behind one.")
    for group in groups:
        if group[0] in bare and len(group) == 1:
            group.append(bare[group[0]])
        elif group[0] in lists and not (group[-1][:1] == "[" and group[-1][-1:] == "]"):
            group[1:] = [json.dumps(group[1:])]  # brackets: a list already, in YAML's way
        elif group[0] == "--config" and len(group) == 2 and group[1].startswith("s3://"):
            group[1] = _read_s3(group[1])
    return [argument for group in groups for argument in group]


def _read_s3(uri: str) -> str:
    """A settings file; the parser takes its text in place of its name."""
    from liser_ray.storage.files import read_bytes  # pyarrow, for the few who need it

    try:
        return read_bytes(uri).decode()
    except OSError as error:
        raise UserError(f"--config {uri} can't be read: {error}") from error
