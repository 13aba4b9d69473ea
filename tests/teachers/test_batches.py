import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.teachers.batches import on_device

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
