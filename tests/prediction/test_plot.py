import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_students import write_student
from tones import tone

from liser_ray.prediction.plot import MAX_COLUMNS, Columns, Overview, prediction_plot
from liser_ray.prediction.prediction import Prediction
from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import LogMel
from liser_ray.student.front_end import frame_count, window_count


@settings(max_examples=30)
@given(st.integers(1, 60_000), st.integers(1, 9_000))
def test_columns_stay_few_and_keep_the_mean(n_columns, length):
    values = np.arange(n_columns, dtype=np.float64)[None]
    columns = Columns(1, lambda found: found.mean(axis=-1))
    for start in range(0, n_columns, length):
        columns.add(values[:, start : start + length])
    table = columns.table
    assert table.shape[1] <= 2 * MAX_COLUMNS
    assert n_columns - columns.n_each < table.shape[1] * columns.n_each <= n_columns
    expected = values[:, : table.shape[1] * columns.n_each].reshape(-1, columns.n_each).mean(axis=1)
    np.testing.assert_allclose(table[0], expected)


@pytest.mark.parametrize("duration_s", [0.5, 3.0, 3.2, 5.5])
def test_an_overview_is_of_all_that_was_heard(student, duration_s):
    waveform = tone(1, duration_s, np.random.default_rng(0)).astype(np.float32) / 32768
    overview = Overview(student.backend)
    for start in range(0, len(waveform), 1000):
        overview.add(waveform[start : start + 1000])
    log_mel, column_s = overview.log_mel()
    mel = LogMel()
    whole = mel(mel.fit_length(torch.from_numpy(waveform))[None])
    expected = whole[0].numpy()[:, : frame_count(len(waveform))]
    joints = [94, expected.shape[1]] if duration_s > 3 else []  # of pieces, and the end, behind which there are zeros
    at_joints = [frame for joint in joints for frame in range(joint - 2, min(joint + 2, expected.shape[1]))]
    np.testing.assert_allclose(*(np.delete(one, at_joints, axis=1) for one in (log_mel, expected)), atol=1e-4)
    assert log_mel.shape == expected.shape
    assert column_s == pytest.approx(0.032)
    (low, high), column_s = overview.reach()
    assert column_s == pytest.approx(0.008)
    assert high.max() == waveform.max()
    assert low.min() == waveform.min()


def test_a_recording_that_ends_with_a_piece_of_the_overview_is_shown(tmp_path):
    student = Student.from_pretrained(write_student(tmp_path, NetworkConfig(normalisation="speech")))
    overview = Overview(student.backend)
    overview.add(tone(1, 94 * 512 / 16_000, np.random.default_rng(0)).astype(np.float32) / 32768)
    assert overview.log_mel()[0].shape == (64, 94)


@pytest.mark.parametrize(("n_labels", "duration_s"), [(2, 1.0), (12, 20.0)])
def test_a_picture_of_any_recording(student, n_labels, duration_s):
    overview = Overview(student.backend)
    overview.add(tone(1, duration_s, np.random.default_rng(0)).astype(np.float32) / 32768)
    n_windows = window_count(round(duration_s * 16_000))
    shares = np.random.default_rng(0).dirichlet(np.ones(n_labels), n_windows).astype(np.float32)
    labels = tuple(f"label {i}" for i in range(n_labels))
    prediction = Prediction(labels, shares.mean(axis=0), shares, 0.1, duration_s)
    png = prediction_plot(overview, prediction, "talk_$b_{c$\udce9.wav")
    assert Image.open(io.BytesIO(png)).size == (1500, 1050)
