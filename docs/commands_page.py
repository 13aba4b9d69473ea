"""What `mkdocs build` puts on the page commands.md: the options of each command, from its parser."""

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from jsonargparse import capture_parser

from liser_ray import __main__ as command_line


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401 - a page of mkdocs
    """The page with what follows its first words; mkdocs calls this for each page."""
    if page.file.src_uri != "commands.md":
        return markdown
    return "\n".join([markdown, *(line for parser in parsers() for line in section(parser))])


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Of each command its parser, called as the command is."""
    for name, (module, _) in command_line._JOBS.items():
        parser = capture_parser(import_module(f"liser_ray.jobs.{module}").main, [])
        parser.prog = f"liser-ray {name}"
        yield parser
    for name, (module, _) in command_line._COMMANDS.items():
        parser = argparse.ArgumentParser(f"liser-ray {name}", description=module.DESCRIPTION)
        module.add_arguments(parser)
        yield parser


def section(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Lines of Markdown: what a command is for, and a table for each group of its options."""
    yield f"\n## {parser.prog}\n\n```text\n{(parser.description or '').strip()}\n```"
    for group in parser._action_groups:
        options = [one for one in group._group_actions if one.help != argparse.SUPPRESS and one.dest != "help"]
        title = group.title or ""
        if options:
            yield f"\n{_plain(title[:1].upper() + title[1:])}\n\n| option | default | |\n|---|---|---|"
        for one in options:
            names = [name for name in one.option_strings if not name.endswith("+")] or [str(one.metavar or one.dest)]
            choices = one.metavar if str(one.metavar).startswith("{") else ""  # jsonargparse shows them there
            choices = choices or (f"{{{','.join(map(str, one.choices))}}}" if one.choices else "")
            default = "" if one.nargs == 0 else _default(one.default)  # of a switch none
            yield f"| `{f'{names[-1]} {choices}'.strip()}` | {default} | {_plain(one.help or '')} |"


def _default(value: object) -> str:
    is_nothing = value is None or value in ("", argparse.SUPPRESS) or value in ([], {}, ())
    return "" if is_nothing else f"`{value}`"


def _plain(text: str) -> str:
    """Text in which nothing is Markdown."""
    return re.sub(r"([\\`*_|<>\[\]{}~])", r"\\\1", " ".join(text.split())).replace("%%", "%")
