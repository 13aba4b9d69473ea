"""Kinds of teachers of one's own, and where their code has to be."""

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers

OWN = """
from dataclasses import dataclass

TAKES = "sound"

@dataclass(frozen=True)
class Options:
    weights: str = ""
    scale: float = 1.0

@dataclass
class Loaded:
    given: tuple
    targets: tuple = ()
    takes: str = "sound"

def load(name, options, device, precision):
    return Loaded((name, options.weights, options.scale))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Folder of a package `kinds_of_ones_own`, on the path."""
    package = tmp_path / "kinds_of_ones_own"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "energy.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    forget()


def forget():
    for name in [one for one in sys.modules if one.startswith("kinds_of_ones_own")]:
        del sys.modules[name]


def test_a_kind_of_ones_own_is_named_by_its_module(own):
    (entry,) = read_teachers({"e": {"kind": "kinds_of_ones_own.energy", "weights": "a", "scale": 2}})
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert (entry.takes, entry.load(torch.device("cpu")).given) == ("sound", ("e", "a", 2.0))


def test_a_worker_without_its_code_says_how_the_code_gets_there(own, monkeypatch):
    (entry,) = read_teachers(["e=kinds_of_ones_own.energy:a"])
    sent = pickle.dumps(entry)
    forget()
    monkeypatch.delitem(sys.path_importer_cache, str(own.parent), raising=False)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(own.parent)])
    with pytest.raises(UserError, match=r"kinds_of_ones_own\.energy can't be imported on .*--working-dir .*PYTHONPATH"):
        pickle.loads(sent).load(torch.device("cpu"))


def test_a_kind_of_ones_own_that_lacks_a_library_is_told_of_it(own):
    (own / "energy.py").write_text("import library_that_is_not_here\n" + OWN)
    with pytest.raises(UserError, match="No module named 'library_that_is_not_here'"):
        read_teachers(["e=kinds_of_ones_own.energy:a"])


@pytest.mark.parametrize("kind", ["oracle", ".speech", "speech.", "a..b", "../speech"])
def test_what_is_no_name_of_a_kind(kind):
    with pytest.raises(UserError, match="There is no kind of teacher"):
        read_teachers({"e": {"kind": kind}})


@pytest.mark.parametrize(
    ("given", "words"),
    [("energy=energy", r"there is a colon: energy=energy:$"), ("speech=out/t", r"such as speech=speech:out/t\.$")],
)
def test_without_a_colon_it_says_what_lacks(given, words):
    with pytest.raises(UserError, match=words):
        read_teachers([given])


def test_the_module_on_the_page_about_pretext_tasks_is_one(own):
    page = (Path(__file__).parents[2] / "docs/pretext.md").read_text()
    (code,) = re.findall(r"```python\n# my_package/loudness\.py\n(.*?)```", page, flags=re.DOTALL)
    (own / "loudness.py").write_text(code)
    (entry,) = read_teachers(["level=kinds_of_ones_own.loudness:"])
    teacher = entry.load(torch.device("cpu"))
    (target,) = teacher.targets
    assert (target.name, target.kind, target.tuned_on.heard) == ("level", "scalar", ())
    windows = np.random.default_rng(0).uniform(-1, 1, (3, 8000)).astype(np.float32)
    np.testing.assert_allclose(teacher(windows)["level"].values[:, 0], windows.std(axis=1), rtol=0.01)
