import re
import sys
import threading
import time

import pytest

from liser_ray.runtime import display
from liser_ray.runtime.display import Counting, LiveDisplay, RunsProgress, clock


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


def counted(total, done, done_before=0, elapsed_s=0.0, text=""):
    counting = Counting("recordings", total, done_before, text)
    counting._started = time.monotonic() - elapsed_s
    counting.done = done
    return counting.line


class TestLine:
    def test_count_share_time_left_and_text(self):
        assert counted(4000, 1000, elapsed_s=60, text="loss 0.5") == (
            "1,000/4,000 recordings (25%) · 3:00 left · loss 0.5"
        )

    def test_the_time_left_is_unknown_until_something_is_done(self):
        assert counted(10, 5, done_before=5, elapsed_s=30) == "5/10 recordings (50%) · ? left"

    def test_what_an_earlier_run_did_counts_but_tells_nothing_about_speed(self):
        # 30 in this run's minute: the 20 that are left take 40 s, however many there were before.
        assert counted(100, 80, done_before=50, elapsed_s=60) == "80/100 recordings (80%) · 0:40 left"

    def test_none_to_do_and_a_total_that_is_not_known(self):
        assert counted(0, 0).startswith("0/0 recordings (0%)")
        assert counted(None, 12) == "12 recordings"


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
            wait_for(look.all_given)
        lines = capsys.readouterr().err.splitlines()
        assert lines[1::2] == ["media 3/s"] * len(look.elapsed_s)
        assert [line.partition(" (")[0] for line in lines[:6:2]] == ["1/10 steps", "2/10 steps", "10/10 steps"]
        assert lines[4] == "10/10 steps (100%) · 0:00 left · loss 1.0"

    def test_the_last_look_is_at_the_end(self, capsys):
        done = 0
        with LiveDisplay("steps", 10, lambda _: (done, "end"), done_before=2):
            done = 8
        assert capsys.readouterr().err == "10/10 steps (100%) · 0:00 left · end\n"

    def test_an_error_inside_ends_the_display_and_is_not_hidden(self, capsys):
        def fail():
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"), LiveDisplay("steps", 10, lambda _: (3, "so far")):
            fail()
        assert capsys.readouterr().err.startswith("3/10 steps (30%)")


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    pretend_terminal(monkeypatch)
    look = Looks(0, 4, 5)
    with LiveDisplay("steps", 10, look, done_before=5):
        wait_for(look.all_given)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "5/10 steps" in shown
    assert "9/10 steps" in shown
    assert "loss 0.4" in shown
    assert "10/10 steps (100%)" in shown


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
    progress = RunsProgress()
    assert progress.snapshot() == (0, "starting")
    for run in ("fold 0", "fold 1", "fold 2"):
        progress.add(run, 5, "epoch 5")
    progress.add("fold 1", 7, "epoch 7")
    assert progress.snapshot() == (17, "fold 1: epoch 7 · fold 2: epoch 5")
