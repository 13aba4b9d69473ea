import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tones import tone

from liser_ray.prediction.plot import MAX_COLUMNS, Columns, Overview, prediction_plot
from liser_ray.prediction.prediction import Prediction
from liser_ray.student import front_end


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60_000), st.integers(1, 9_000))
def test_columns_stay_few_and_keep_the_mean(n_columns, length):
    values = np.arange(n_columns, dtype=np.float64)[None]
    columns = Columns(lambda found: found.mean(axis=-1))
    for start in range(0, n_columns, length):
        columns.add(values[:, start : start + length])
    table = columns.table()
    assert table.shape[1] <= 2 * MAX_COLUMNS
    assert n_columns - columns.n_each < table.shape[1] * columns.n_each <= n_columns
    expected = values[:, : table.shape[1] * columns.n_each].reshape(-1, columns.n_each).mean(axis=1)
    np.testing.assert_allclose(table[0], expected)


def test_an_overview_of_a_short_recording_is_the_recording():
    waveform = tone(1, 3.2, np.random.default_rng(0)).astype(np.float32) / 32768
    overview = Overview()
    for start in range(0, len(waveform), 1000):
        overview.add(waveform[start : start + 1000])
    log_mel, column_s = overview.log_mel()
    np.testing.assert_allclose(log_mel, front_end.log_mel(waveform), atol=1e-5)
    assert column_s == pytest.approx(0.032)
    (low, high), column_s = overview.reach()
    assert column_s == pytest.approx(0.008)
    assert high.max() == waveform.max()
    assert low.min() == waveform.min()


@pytest.mark.parametrize(("n_labels", "duration_s"), [(2, 1.0), (8, 3.5), (12, 20.0)])
def test_a_picture_of_any_recording(n_labels, duration_s):
    overview = Overview()
    overview.add(tone(1, duration_s, np.random.default_rng(0)).astype(np.float32) / 32768)
    n_windows = front_end.window_count(round(duration_s * 16_000))
    shares = np.random.default_rng(0).dirichlet(np.ones(n_labels), n_windows).astype(np.float32)
    labels = tuple(f"label {i}" for i in range(n_labels))
    prediction = Prediction(labels, shares.mean(axis=0), shares, 0.1, duration_s)
    png = prediction_plot(overview, prediction, "talk.wav")
    assert Image.open(io.BytesIO(png)).size == (1500, 1050)
