import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.media import yuv
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.batches import answers, choose_device, on_device, without_gaps

CPU = torch.device("cpu")


@given(
    counts=st.lists(st.integers(0, 7), max_size=4),
    batch_size=st.integers(1, 9),
    kind=st.sampled_from(["uint8", "float32"]),
)
def test_windows_of_several_spans_come_in_order_and_in_full_batches(counts: list[int], batch_size: int, kind: str):
    spans = [(100 * k + np.arange(6 * n)).astype(kind).reshape(n, 2, 3) for k, n in enumerate(counts)]
    for span in spans:
        span.flags.writeable = False  # as Arrow's are
    whole = np.concatenate(spans) if spans else np.empty((0, 2, 3), kind)
    views = [window for span in spans for window in span]
    for windows in (whole, views):
        batches = list(on_device(windows, batch_size, CPU))
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        if len(whole):
            np.testing.assert_array_equal(torch.cat(batches).numpy(), whole)
            assert batches[0].numpy().dtype == kind
        else:
            assert not batches


def test_windows_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        list(on_device([np.zeros(3), np.zeros(4)], 2, CPU))


@pytest.mark.parametrize(
    ("threads", "n_windows", "apart", "threads_apart"),
    [(2, 0, 0, 1), (2, 1, 0, 1), (2, 3, 2, 1), (2, 4, 4, 1), (2, 7, 6, 1), (1, 3, 0, 1), (16, 17, 16, 2)],
)
def test_on_a_cpu_threads_answer_batches_apart_and_share_what_is_left(
    threads: int, n_windows: int, apart: int, threads_apart: int
):
    seen: list[tuple[int, int]] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return batch.sum(dim=1)

    windows = np.arange(3.0 * n_windows).reshape(n_windows, 3)
    torch.set_num_threads(threads)
    found = answers(network, windows, 1, CPU)
    assert torch.get_num_threads() == threads
    assert [float(one) for one in found] == windows.sum(axis=1).tolist()
    here = threading.get_ident()
    assert [of for thread, of in seen if thread != here] == [threads_apart] * apart
    assert [of for thread, of in seen if thread == here] == [threads] * (n_windows - apart)


def test_a_failing_batch_leaves_the_number_of_threads_as_it_was():
    def network(batch: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="no"):
        answers(network, np.zeros((4, 3)), 1, CPU)
    assert torch.get_num_threads() == 2


def test_where_no_face_was_the_last_picture_before_stands():
    clip = np.random.default_rng(0).integers(1, 255, (2, 6, yuv.PACKED_ROWS, yuv.CROP_PX), np.uint8)
    clip[:, :, -1] = yuv.OF_RGB
    whole = torch.from_numpy(clip.copy())
    assert torch.equal(without_gaps(whole), whole)
    clip[0, [0, 3, 4]] = 0
    found = without_gaps(torch.from_numpy(clip))
    assert torch.equal(found[0], torch.from_numpy(clip[0, [1, 1, 2, 2, 2, 5]]))
    assert torch.equal(found[1], whole[1])


def test_a_worker_that_was_given_a_gpu_does_not_fall_back_on_its_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    assert choose_device() == "cpu"
    with pytest.raises(UserError, match="was given a GPU, and PyTorch can't use it"):
        choose_device(has_gpu=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (choose_device(), choose_device(has_gpu=True)) == ("cpu", "cuda")  # Ray hides no GPU from the first
