"""What the README, the docs and the jobs' help tell people to type is what there is."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from job_scripts import load_job
from jsonargparse import ArgumentParser

from liser_ray import __main__ as command_line

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks/README.md"]
JOBS = {path.name: path for path in (ROOT / "jobs").glob("*.py")}
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


def commands(text: str) -> Iterator[list[str]]:
    """Words of each command in a text, from the job's file or ``liser-ray`` on.

    A command goes on after a backslash, and where the next line is indented further and begins with an option.
    """
    text = re.sub(r" *\\\n\s*", " ", text)
    text = re.sub(r"\n {6,}(?=--)", " ", text)
    for line in text.splitlines():
        if found := re.search(r"jobs/(\w+\.py .*)|\b(liser-ray [a-z].*)", line):
            command = re.split(r"  +(?=\S)| [>|] |…$|`", found[1] or found[2])[0]  # what comes then is no part of it
            yield shlex.split(command, comments=True)


def written() -> Iterator[tuple[str, list[str]]]:
    """Each command with where it is written."""
    for page in PAGES:
        blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for block in blocks:
            for command in commands(block):
                yield str(page.relative_to(ROOT)), command
    for name in JOBS:
        for command in commands(import_module(f"liser_ray.jobs.{name.removesuffix('.py')}").DESCRIPTION):
            yield f"{name} --help", command
    for name, (module, _) in command_line._COMMANDS.items():
        for command in commands(module.DESCRIPTION):
            yield f"liser-ray {name} --help", command


def without_settings_files(arguments: list[str]) -> list[str]:
    """They need not be there."""
    files = {at + 1 for at, one in enumerate(arguments) if one == "--config"}
    return [one for at, one in enumerate(arguments) if one != "--config" and at not in files]


@pytest.fixture
def parse(monkeypatch):
    """Parses a command as its program does, and no more."""

    def stop(*_):
        raise SystemExit("parsed")

    monkeypatch.setattr(ArgumentParser, "instantiate_classes", stop)
    for module, _ in command_line._COMMANDS.values():
        monkeypatch.setattr(module, "run", stop)

    def call(command: list[str]) -> None:
        program, *arguments = command
        main = load_job(JOBS[program]).main if program in JOBS else command_line.command
        with pytest.raises(SystemExit, match="parsed"):
            main(without_settings_files(arguments))

    return call


WRITTEN = [one for one in written() if "..." not in one[1] and one[1][0] != "demo.py"]


def test_there_are_commands_of_every_job():
    assert {command[0] for _, command in WRITTEN} >= {*JOBS, "liser-ray"} - {"demo.py"}
    assert len(WRITTEN) > 50


@pytest.mark.parametrize("command", [one for _, one in WRITTEN], ids=[f"{where}: {one[0]}" for where, one in WRITTEN])
def test_a_command_is_taken(parse, command):
    parse(command)


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All that the jobs, the command line and the benchmarks take."""
    helps = [(load_job(JOBS[name]).main, ["--help"]) for name in JOBS if name != "demo.py"]
    helps += [(command_line.command, [name, "--help"]) for name in command_line._COMMANDS]
    printed = io.StringIO()
    for main, arguments in helps:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            main(arguments)
    sources = "".join(path.read_text() for path in BENCHMARKS)
    return {*re.findall(r"--[a-z]\w*(?:\.\w+)*", printed.getvalue()), *re.findall(r'"(--\w+)"', sources)}


def test_the_page_of_commands_has_every_command_and_option(options):
    page = load_job(ROOT / "docs/commands_page.py")
    text = "\n".join(line for parser in page.parsers() for line in page.section(parser))
    assert re.findall(r"^## liser-ray (.+)$", text, re.MULTILINE) == [*command_line._JOBS, *command_line._COMMANDS]
    of_benchmarks = set(re.findall(r'"(--\w+)"', "".join(path.read_text() for path in BENCHMARKS)))
    assert options - of_benchmarks - set(re.findall(r"--[a-z]\w*(?:\.\w+)*", text)) <= {"--help"}


OF_PIP_AUDIT = {"--disable-pip", "--no-deps"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_option_in_the_text_is_one_of_ours(page, options):
    """Those that stand by themselves; the others belong to the program before them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = {one for code in re.findall(r"`(--[^`]+)`", text) for one in re.findall(r"--[a-z][\w.-]*\w", code)}
    groups = {option.rpartition(".")[0] for option in options}
    assert named - options - groups <= OF_PIP_AUDIT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, anchor
