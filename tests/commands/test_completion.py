"""The script that completes in a shell, asked as bash asks it."""

import shlex
import subprocess
import sys

import pytest

from liser_ray.student.training.recipes import recipe_names


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "liser-ray"
    printed = subprocess.run([sys.executable, "-m", "liser_ray", "completion", "bash"], capture_output=True, text=True)
    assert (printed.returncode, printed.stderr) == (0, "")
    path.write_text(printed.stdout)
    return path


@pytest.mark.parametrize(
    ("typed", "answers"),
    [
        ("liser-ray tune-", {"tune-prosody", "tune-words"}),
        ("liser-ray train --train.lab", {f"--train.labeled_{one}" for one in ("by", "fraction", "per_batch")}),
        ("liser-ray train --train.keep ''", {"best", "last"}),
        ("liser-ray label --retry_failed ''", {"no", "transient", "all"}),
        ("liser-ray predict --mod", {"--model"}),
        ("liser-ray search --conf", {"--config"}),
        ("liser-ray search --spa", {"--space"}),
        ("liser-ray completion ''", {"bash", "zsh", "fish"}),
        ("liser-ray train --config pyproj", {"pyproject.toml"}),
        ("liser-ray train --recipe stro", {one for one in recipe_names() if one.startswith("strong")}),
        ("liser-ray train --recipe pyproj", {"pyproject.toml"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices_by_itself(bash_script, typed, answers, pytestconfig):
    words = shlex.split(typed)
    ask = f"source {bash_script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _shtab_liser_ray; "
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    # No Python is on its path: what is pressed starts nothing.
    answered = subprocess.run(
        ["/bin/bash", "-c", ask],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere"},
        cwd=pytestconfig.rootpath,
    )
    assert {*answered.stdout.split()} == answers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_nothing_of_where_it_goes_which_the_help_does(command, shell):
    script = command("completion", shell)[1]
    assert "Copy this" not in script
    assert "conf-vid-sp-dstl" in script


def test_where_the_jobs_are_not_installed_there_are_the_other_commands(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    code, out, errors = command("completion", "zsh")
    assert code == 0
    assert "pip install liser-ray[train]" in errors
    assert out.startswith("#compdef liser-ray")
    assert "--timeline" in out
    assert "--recipe" not in out
