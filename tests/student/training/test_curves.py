import importlib
import struct
import sys
from io import BytesIO

import pytest
from matplotlib.image import imread
from tensorboardX.proto.event_pb2 import Event

from liser_ray.runtime.errors import UserError
from liser_ray.student.training.curves import check_log, curve_writer, plot_curves
from liser_ray.training.fit import EpochScore


def score(epoch, speech=0.0, uar=0.3):
    terms = {"supervised": 2 / epoch, "speech": speech}
    return EpochScore(epoch, 2 / epoch + speech, terms, {}, None, uar, 1.0)


def written(folder):
    """(tag, step) to value of all event files, as TensorBoard reads them: later ones purge what is taken back."""
    values = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data = BytesIO(path.read_bytes())
        while header := data.read(12):
            event = Event.FromString(data.read(struct.unpack("<Q", header[:8])[0]))
            data.read(4)
            if event.session_log.status:
                values = {key: value for key, value in values.items() if key[1] < event.step}
            values |= {(one.tag, event.step): one.simple_value for one in event.summary.value}
    return values


def test_tensorboard_sees_each_epoch_at_once_and_what_a_new_process_takes_back(tmp_path):
    with curve_writer(str(tmp_path)) as add:
        for epoch in (1, 2, 3):
            add(score(epoch).flat)
            assert ("loss", epoch) in written(tmp_path)
    with curve_writer(str(tmp_path)) as add:
        add(score(2, uar=None).flat)
        found = written(tmp_path)
    assert found["loss", 1] == 2.0
    assert ("loss", 3) not in found
    assert ("validation_uar", 2) not in found


MLFLOW = """
from contextlib import contextmanager
told = []
set_experiment = lambda name: told.append(("experiment", name))
log_params = lambda settings: told.append(("settings", settings))
log_metrics = lambda numbers, step: told.append((step, numbers))
@contextmanager
def start_run(run_name):
    told.append(("run", run_name))
    yield
    told.append("ended")
"""

WANDB = """
from contextlib import contextmanager
told = []
login = lambda prompt, verify: False
class Run:
    log = staticmethod(lambda numbers, step: told.append((step, numbers)))
@contextmanager
def init(project, group, dir, name, config):
    told.extend([("experiment", project), ("run", name), ("settings", config)])
    yield Run
    told.append("ended")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A module of that name which remembers what it is told."""

    def make(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    yield make
    for name in ("mlflow", "wandb"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("log", "source"), [("mlflow", MLFLOW), ("wandb", WANDB)])
def test_another_place_gets_the_same_numbers_as_tensorboard(tmp_path, stand_in, log, source):
    there = stand_in(log, source)
    output = f"{tmp_path}/student/seed-0-fold-1"
    with curve_writer(output, log, {"train.epochs": "2"}) as add:
        assert there.told == []
        for epoch in (1, 2):
            add(score(epoch, uar=0.5 if epoch == 2 else None).flat)
    assert sorted(there.told[:3], key=str) == [
        ("experiment", "liser"),
        ("run", "student/seed-0-fold-1"),
        ("settings", {"output": output, "train.epochs": "2"}),
    ]
    assert [one[0] for one in there.told[3:-1]] == [1, 2]
    assert there.told[-1] == "ended"
    for epoch, numbers in there.told[3:-1]:
        assert numbers == pytest.approx({tag: v for (tag, of), v in written(tmp_path / output).items() if of == epoch})


def test_what_can_not_be_written_to_is_said_before_any_work(stand_in, monkeypatch):
    check_log("tensorboard")
    monkeypatch.setattr("liser_ray.student.training.curves.find_spec", lambda name: None)
    with pytest.raises(UserError, match="mlflow is not installed here: pip install -U mlflow"):
        check_log("mlflow")


def test_who_has_not_said_where_or_who_is_told_so(stand_in, monkeypatch):
    stand_in("mlflow", MLFLOW), stand_in("wandb", WANDB)
    with pytest.raises(UserError, match="say where in MLFLOW_TRACKING_URI"):
        check_log("mlflow")
    with pytest.raises(UserError, match="nobody is logged in: set WANDB_API_KEY"):
        check_log("wandb")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_log("mlflow"), check_log("wandb")


def test_a_folder_that_wandb_has_made_is_no_package(tmp_path, stand_in, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="wandb is not installed here"):
        check_log("wandb")


def test_a_picture_of_any_history():
    short = [score(1)], [score(1, 0.1, None), score(2, 0.2, None)]
    for history in (*short, [score(n, 0.1 / n) for n in range(1, 9)], [score(n, 0.1 - n) for n in range(1, 9)]):
        assert imread(BytesIO(plot_curves(history, 1, "sp-dstl")), format="png").shape[:2] == (540, 1350)
