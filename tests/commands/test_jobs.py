"""Jobs as commands of the installed package."""

from pathlib import Path

import pytest

from liser_ray import __main__ as command_line


def test_every_job_is_a_command(command):
    scripts = {path.stem for path in (Path(__file__).parents[2] / "jobs").glob("*.py")}
    assert {job for job, _ in command_line._JOBS.values()} == scripts
    code, out, _ = command("--help")
    assert code == 0
    for name in command_line._JOBS:
        assert f"\n    {name}" in out


def test_its_help_and_its_messages_are_those_of_the_script(command):
    code, out, _ = command("train", "--help")
    assert code == 0
    assert out.startswith("usage: liser-ray train ")
    assert "conf-vid-sp-dstl" in out
    code, _, errors = command("train", "--labeled", "ravdess:/nowhere", "--recipe", "no-dstl")
    assert code == 2
    assert errors.startswith("error: /nowhere")


def test_what_is_missing_is_named_with_what_has_it(command, monkeypatch):
    def without(name):
        raise ModuleNotFoundError(name="ray")

    monkeypatch.setattr(command_line, "import_module", without)
    code, _, errors = command("label", "--input", "x")
    assert code == 2
    assert "ray is not installed here" in errors
    assert "pip install liser-ray[train]" in errors


@pytest.mark.parametrize(
    ("name", "words"),
    [("train", "Interrupted. The same command goes on where it was.\n"), ("evaluate", "Interrupted.\n")],
)
def test_one_that_is_interrupted_says_whether_it_goes_on(command, monkeypatch, name, words):
    from liser_ray.jobs import evaluate, train_student

    def interrupted(argv=None):
        raise KeyboardInterrupt

    for job in (evaluate, train_student):
        monkeypatch.setattr(job, "main", interrupted)
    code, _, errors = command(name)
    assert (code, errors) == (130, words)


@pytest.mark.parametrize("name", ["labels", ""])
def test_an_unknown_command(command, name):
    code, _, errors = command(name)
    assert code == 2
    assert "invalid choice" in errors
