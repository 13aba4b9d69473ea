import os

import numpy as np
import pytest
import torch

from liser_ray.labeling.asking import ask
from liser_ray.media.outcome import Problem, Reason, Stage

SPANS = [np.full((2, 3), 1.0), np.full((0, 3), 2.0), np.full((4, 3), 3.0)]


def stacked(windows):
    return np.reshape(windows, (len(windows), 3))


def test_all_windows_go_in_one_call_and_come_back_to_their_spans():
    calls = []

    def teacher(windows):
        calls.append(len(windows))
        return stacked(windows)[:, :2] * 10

    answers = ask(teacher, SPANS, Stage.VIDEO_TEACHER)
    assert calls == [6]
    assert [answer.shape for answer in answers] == [(2, 2), (0, 2), (4, 2)]
    assert [answer.max(initial=0) for answer in answers] == [10, 0, 30]


def test_a_span_that_a_teacher_can_not_take_costs_no_other():
    def teacher(windows):
        if (stacked(windows) == 3).any():
            raise RuntimeError("out of memory")
        return stacked(windows)

    first, second, third = ask(teacher, SPANS, Stage.SPEECH_TEACHER)
    assert first.shape == (2, 3)
    assert second.shape == (0, 3)
    assert third == Problem(Stage.SPEECH_TEACHER, Reason.TEACHER_ERROR, "RuntimeError: out of memory")


def test_numbers_that_are_none_are_an_error_of_their_span():
    def teacher(windows):
        return np.where(stacked(windows) == 3, np.nan, stacked(windows))

    answers = ask(teacher, SPANS, Stage.VIDEO_TEACHER)
    assert answers[2].reason == Reason.TEACHER_ERROR
    assert "not finite" in answers[2].detail


@pytest.mark.parametrize("lost", [True, False])
def test_a_worker_whose_gpu_is_lost_ends_and_does_not_fail_the_rest(monkeypatch, lost):
    def synchronize():
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def kill(pid, number):
        raise SystemExit(f"{number.name} to {pid}")

    def teacher(windows):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(os, "kill", kill)
    if lost:
        with pytest.raises(SystemExit, match=f"SIGKILL to {os.getpid()}"):
            ask(teacher, SPANS, Stage.VIDEO_TEACHER)
    else:
        assert [one.reason for one in ask(teacher, SPANS, Stage.VIDEO_TEACHER)] == [Reason.TEACHER_ERROR] * 3


def test_no_spans_no_answers():
    assert ask(lambda windows: windows, [], Stage.VIDEO_TEACHER) == []
