import logging
import pickle
import re
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from liser_ray.runtime import display
from liser_ray.runtime.display import Counting, LiveDisplay, RunsProgress, clock, result_console


@pytest.fixture(autouse=True)
def _as_jobs_do(caplog):
    caplog.set_level(logging.INFO, logger="liser_ray")


def pretend_terminal(monkeypatch):
    """To be called in the test itself: the stderr that fixtures see is another one."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(display, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setenv("COLUMNS", "200")


class Looks:
    """A look that answers with the given counts in turn, then with the last one, and says when all were given."""

    def __init__(self, *counts):
        self.counts, self.n_looks, self.all_given = counts, 0, threading.Event()

    def __call__(self, elapsed_s):
        self.n_looks += 1
        if self.n_looks >= len(self.counts):
            self.all_given.set()
        done = self.counts[min(self.n_looks, len(self.counts)) - 1]
        return done, f"loss {done / 10}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3599, "59:59"), (12_307, "3:25:07")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"total": 4000, "done": 1000, "text": "loss 0.5"}, "1,000/4,000 recordings (25%) · 3:00 left · loss 0.5"),
        ({"total": 10, "done": 5, "done_before": 5}, "5/10 recordings (50%) · ? left"),
        # 30 in this run's minute: the 20 that are left take 40 s, however many there were before.
        ({"total": 100, "done": 80, "done_before": 50}, "80/100 recordings (80%) · 0:40 left"),
        ({"total": 0, "done": 0}, "0/0 recordings (0%) · ? left"),
        ({"total": None, "done": 12}, "12 recordings"),
    ],
)
def test_a_line_has_count_share_time_left_and_text(monkeypatch, counts, line):
    now = iter((0.0, 60.0))
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: next(now)))
    done = counts.pop("done")
    with Counting("recordings", **counts) as counting:
        counting.done = done
        assert counting.line == line


def test_a_loop_tells_a_log_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(display, "_LINE_EVERY_S", -1.0)
    with Counting("files", 2) as counting:
        counting.advance()
        counting.show(2, "all")
    assert [line.partition(" (")[0] for line in capsys.readouterr().err.splitlines()] == ["1/2 files", "2/2 files"]


class TestLog:
    def test_a_line_now_and_then(self, monkeypatch, capsys):
        monkeypatch.setattr(display, "_LINE_EVERY_S", 0.001)
        look = Looks(1, 2, 10)
        with LiveDisplay("steps", 10, look, more_lines=lambda: ["media 3/s"]):
            assert look.all_given.wait(10)
        lines = capsys.readouterr().err.splitlines()
        assert lines[1::2] == ["media 3/s"] * look.n_looks
        assert [line.partition(" (")[0] for line in lines[:6:2]] == ["1/10 steps", "2/10 steps", "10/10 steps"]
        assert lines[4] == "10/10 steps (100%) · 0:00 left · loss 1.0"

    def test_the_last_look_is_at_the_end_also_after_an_error_which_is_not_hidden(self, capsys):
        done = []

        def fail():
            done.append(8)
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError), LiveDisplay("steps", 10, lambda _: (sum(done), "end"), done_before=2):
            fail()
        assert capsys.readouterr().err == "10/10 steps (100%) · 0:00 left · end\n"


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    pretend_terminal(monkeypatch)
    look = Looks(0, 4, 5)
    with LiveDisplay("steps", 10, look, done_before=5):
        assert look.all_given.wait(10)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert all(words in shown for words in ("5/10 steps", "9/10 steps", "loss 0.4", "10/10 steps (100%)"))


def test_names_with_brackets_are_shown_whole(monkeypatch, capsys):
    pretend_terminal(monkeypatch)
    with Counting("[files]", 2) as counting:
        counting.show(1, "talk [dQw4w9].wav [/x]")
    shown = capsys.readouterr().err
    assert "1/2 [files]" in shown
    assert "talk [dQw4w9].wav [/x]" in shown


def test_results_have_names_as_they_are(capsys):
    result_console().print("s3://a:smile:/[b] 0.5", soft_wrap=True)
    assert capsys.readouterr().out == "s3://a:smile:/[b] 0.5\n"


def test_a_count_goes_to_a_file_without_its_bar(monkeypatch):
    pretend_terminal(monkeypatch)
    with Counting("settings", 3) as counting:
        counting.advance()
        assert pickle.loads(pickle.dumps(counting)).count == "1/3 settings"


def test_whoever_wants_no_information_is_left_without_a_last_line(caplog, capsys):
    caplog.set_level(logging.WARNING, logger="liser_ray")
    with LiveDisplay("steps", 10, lambda _: (10, "end")):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_look_that_fails_does_not_end_the_work(monkeypatch, on_terminal):
    if on_terminal:
        pretend_terminal(monkeypatch)
    monkeypatch.setattr(display, "_LINE_EVERY_S", 0.001)
    failed = threading.Event()
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: (errors.append(raised.exc_value), failed.set()))

    def look(_):
        raise RuntimeError("nothing to see")

    started = time.monotonic()
    with LiveDisplay("steps", 10, look):
        assert failed.wait(10)
    assert time.monotonic() - started < 5
    assert [str(error) for error in errors] == ["nothing to see"]


def test_progress_of_many_runs_is_their_sum_and_the_latest_lines():
    progress = RunsProgress()
    assert progress.snapshot() == (0, "starting")
    for run in ("fold 0", "fold 1", "fold 2"):
        progress.add(run, 5, "epoch 5")
    progress.add("fold 1", 7, "epoch 7")
    assert progress.snapshot() == (17, "fold 1: epoch 7 · fold 2: epoch 5")
