import sys
import threading
import time
from types import SimpleNamespace

import pytest

from liser_ray.runtime import display
from liser_ray.runtime.display import LiveDisplay, TrainingProgress, clock


def wait_for(event):
    assert event.wait(10), "the display never looked"


def pretend_terminal(monkeypatch):
    """To be called in the test itself: the stderr that fixtures see is another one."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(display, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setenv("COLUMNS", "200")


class Looks:
    """A look that answers with the given counts in turn, then with the last one, and says when all were given."""

    def __init__(self, *counts):
        self.counts = counts
        self.elapsed_s = []
        self.all_given = threading.Event()

    def __call__(self, elapsed_s):
        self.elapsed_s.append(elapsed_s)
        if len(self.elapsed_s) >= len(self.counts):
            self.all_given.set()
        done = self.counts[min(len(self.elapsed_s), len(self.counts)) - 1]
        return done, f"loss {done / 10}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3599, "59:59"), (12_307, "3:25:07")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


class TestLine:
    def test_count_share_time_left_and_text(self):
        line = LiveDisplay("recordings", 4000, lambda _: (0, "")).line(1000, "loss 0.5", 60.0)
        assert line == "1,000/4,000 recordings (25%) · 3:00 left · loss 0.5"

    def test_the_time_left_is_unknown_until_something_is_done(self):
        line = LiveDisplay("steps", 10, lambda _: (0, ""), done_before=5).line(0, "starting", 30.0)
        assert line == "5/10 steps (50%) · ? left · starting"

    def test_what_an_earlier_run_did_counts_but_tells_nothing_about_speed(self):
        # 30 in this run's minute: the 20 that are left take 40 s, however many there were before.
        line = LiveDisplay("steps", 100, lambda _: (0, ""), done_before=50).line(30, "", 60.0)
        assert line.startswith("80/100 steps (80%) · 0:40 left")

    def test_none_to_do(self):
        assert LiveDisplay("steps", 0, lambda _: (0, "")).line(0, "", 0.0).startswith("0/0 steps (0%)")


class TestLog:
    def test_a_line_now_and_then(self, monkeypatch, capsys):
        monkeypatch.setattr(display, "_LINE_EVERY_S", 0.001)
        look = Looks(1, 2, 10)
        with LiveDisplay("steps", 10, look):
            wait_for(look.all_given)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == len(look.elapsed_s) >= 3
        assert [line.partition(" (")[0] for line in lines[:3]] == ["1/10 steps", "2/10 steps", "10/10 steps"]
        assert lines[2] == "10/10 steps (100%) · 0:00 left · loss 1.0"

    def test_the_last_look_is_at_the_end(self, capsys):
        done = 0
        with LiveDisplay("steps", 10, lambda _: (done, "end"), done_before=2):
            done = 8
        assert capsys.readouterr().err == "10/10 steps (100%) · 0:00 left · end\n"

    def test_seconds_count_from_entering(self, monkeypatch):
        now_s = 100.0
        monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: now_s))
        look = Looks(0)
        shown = LiveDisplay("steps", 10, look)
        now_s = 150.0
        with shown:
            now_s = 157.0
        assert look.elapsed_s == [7.0]

    def test_an_error_inside_ends_the_display_and_is_not_hidden(self, capsys):
        def fail():
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"), LiveDisplay("steps", 10, lambda _: (3, "so far")):
            fail()
        assert capsys.readouterr().err.startswith("3/10 steps (30%)")


class TestTerminal:
    def test_a_bar_that_ends_at_the_total(self, monkeypatch, capsys):
        pretend_terminal(monkeypatch)
        look = Looks(0, 4, 10)
        with LiveDisplay("steps", 10, look):
            wait_for(look.all_given)
        shown = capsys.readouterr().err.rstrip("\n").split("\r")
        assert any("4/10 steps" in one and "loss 0.4" in one for one in shown)
        assert shown[-1].startswith("100%|████████████████████| 10/10 steps")
        assert "loss 1.0" in shown[-1]

    def test_what_an_earlier_run_did_counts(self, monkeypatch, capsys):
        pretend_terminal(monkeypatch)
        look = Looks(1, 5)
        with LiveDisplay("steps", 10, look, done_before=5):
            wait_for(look.all_given)
        shown = capsys.readouterr().err.rstrip("\n").split("\r")
        assert "5/10 steps" in next(one for one in shown if "steps" in one)
        assert "10/10 steps" in shown[-1]


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
        wait_for(failed)
    assert time.monotonic() - started < 5
    assert [str(error) for error in errors] == ["nothing to see"]


def test_progress_of_many_runs_is_their_sum_and_the_latest_lines():
    progress = TrainingProgress()
    assert progress.snapshot() == (0, "starting")
    for run in ("fold 0", "fold 1", "fold 2"):
        progress.add(run, 5, "epoch 5")
    progress.add("fold 1", 7, "epoch 7")
    assert progress.snapshot() == (17, "fold 1: epoch 7 · fold 2: epoch 5")
