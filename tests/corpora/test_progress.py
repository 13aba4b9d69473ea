import logging

from liser_ray.corpora import progress
from liser_ray.corpora.progress import Progress


def test_off_a_terminal_it_logs_now_and_then_with_the_time_left(monkeypatch, caplog):
    now = iter(float(10 * step) for step in range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO)
    with Progress("recordings") as line:
        assert not line.on_terminal
        for _ in range(4):
            line.step()
        assert "of" not in caplog.text
        line.total = 1000
        for _ in range(4):
            line.step()
    assert "of 1,000 recordings" in caplog.text
    assert "min left" in caplog.text
