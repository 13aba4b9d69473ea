"""A teacher on a device whose clock is ours."""

import numpy as np
import pytest
import torch

from liser_ray.calibration import teachers
from liser_ray.calibration.teachers import measure_teacher
from liser_ray.runtime.errors import UserError

WINDOWS = np.zeros((3, 2), np.float32)


class Device:
    """Takes ``seconds(batch_size)`` for each batch, ten times that for its first one; has room for ``room`` windows."""

    def __init__(self, monkeypatch, seconds, room=10**9):
        self.now, self.asked = 0.0, []
        self._seconds, self._room = seconds, room
        monkeypatch.setattr(teachers.time, "monotonic", lambda: self.now)

    def __call__(self, windows, batch_size):
        if batch_size > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        batches = -(-len(windows) // batch_size)
        self.now += self._seconds(batch_size) * batches * (1 if self.asked else 10)
        self.asked.append(batch_size)


def test_batches_grow_until_more_gains_nothing(monkeypatch):
    device = Device(monkeypatch, lambda size: 0.01 * max(size, 8))  # busy from 8 windows on
    speed = measure_teacher(device, WINDOWS, 80.0, 64)
    assert [one.batch_size for one in speed.by_batch] == [1, 2, 4, 8, 16, 32]
    assert [one.windows_per_s for one in speed.by_batch] == pytest.approx([12.5, 25, 50, 100, 100, 100])
    assert (speed.best.batch_size, speed.stopped) == (8, "no gain")


def test_one_size_that_was_held_up_does_not_end_it(monkeypatch):
    device = Device(monkeypatch, lambda size: 5.0 if size == 2 else 0.1)
    assert measure_teacher(device, WINDOWS, 80.0, 16).best.batch_size == 16


def test_a_slow_device_is_asked_about_two_windows_and_not_more(monkeypatch):
    device = Device(monkeypatch, lambda size: 12.0 * size)
    speed = measure_teacher(device, WINDOWS, 20.0, 64)
    assert device.asked == [1, 1]  # the first one warms up
    assert [(one.windows, one.windows_per_s) for one in speed.by_batch] == [(1, pytest.approx(1 / 12))]
    assert (speed.best.batch_size, speed.stopped) == (1, "time")


def test_where_memory_runs_out_there_is_some_to_spare(monkeypatch):
    device = Device(monkeypatch, lambda size: 0.1, room=16)
    speed = measure_teacher(device, WINDOWS, 80.0, 64)
    assert [one.batch_size for one in speed.by_batch] == [1, 2, 4, 8, 16]
    assert (speed.best.batch_size, speed.stopped) == (8, "memory")


def test_no_room_for_one_window_is_the_users_to_know(monkeypatch):
    with pytest.raises(UserError, match="no memory for one window"):
        measure_teacher(Device(monkeypatch, lambda size: 0.1, room=0), WINDOWS, 80.0, 64)


def test_the_largest_size_is_the_last(monkeypatch):
    speed = measure_teacher(Device(monkeypatch, lambda size: 0.1), WINDOWS, 80.0, 4)
    assert (speed.best.batch_size, speed.stopped) == (4, "largest")


def test_a_call_that_was_held_up_does_not_count(monkeypatch):
    seconds = iter([1, 1, 1, 1, 1, 60, 1, 1, 1, *[10] * 20])
    device = Device(monkeypatch, lambda size: next(seconds))
    assert measure_teacher(device, WINDOWS, 40.0, 1).best.windows_per_s == 1
