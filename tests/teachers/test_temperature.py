import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from liser_ray.results.metrics import expected_calibration_error
from liser_ray.teachers.temperature import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    fit_temperature,
    logarithms,
    with_temperature,
)

temperatures = st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE)


def drawn(n, n_labels=4, seed=0):
    """Logits [n, n_labels], and true labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, n_labels))
    truth = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, np.minimum(truth, n_labels - 1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_a_softmax_that_is_too_sure_by_a_factor_gets_that_temperature(factor):
    logits, truth = drawn(20_000)
    assert fit_temperature(factor * logits, truth) == pytest.approx(factor, rel=0.05)


def test_the_temperature_makes_it_as_sure_as_it_is_right():
    logits, truth = drawn(20_000)
    too_sure = softmax(3 * logits, axis=1)
    cooled = with_temperature(too_sure, fit_temperature(logarithms(too_sure), truth))  # as good as its logits
    assert expected_calibration_error(too_sure, truth) > 0.1
    assert expected_calibration_error(cooled, truth) < 0.02


def test_always_right_and_always_wrong_stay_within_the_limits():
    logits = np.tile([4.0, 0.0, 0.0], (20, 1))
    fitted = fit_temperature(logits, np.zeros(20, np.int64))
    assert MIN_TEMPERATURE <= fitted <= MAX_TEMPERATURE
    assert softmax(logits[0] / fitted)[0] == pytest.approx(21 / 22, abs=1e-3)  # no surer than twenty allow
    assert fit_temperature(logits / 10, np.zeros(20, np.int64)) == pytest.approx(fitted / 10, rel=0.01)
    assert fit_temperature(logits, np.ones(20, np.int64)) == pytest.approx(MAX_TEMPERATURE, rel=0.05)


def test_labels_that_a_recordings_set_does_not_have_do_not_count():
    logits, truth = drawn(200, 3)
    more = np.insert(logits, 1, -np.inf, axis=1)
    assert fit_temperature(more, np.array([0, 2, 3])[truth]) == pytest.approx(fit_temperature(logits, truth), rel=1e-9)


def test_no_recordings_have_no_temperature():
    with pytest.raises(ValueError, match="No recordings"):
        fit_temperature(np.zeros((0, 4)), np.zeros(0, np.int64))


@given(arrays(np.float64, (3, 2, 5), elements=st.floats(-8, 8)), temperatures)
@settings(max_examples=60, deadline=None)
def test_a_softmax_gets_the_temperature_that_its_logits_would(logits, temperature):
    found = with_temperature(softmax(logits, axis=-1), temperature)
    np.testing.assert_allclose(found, softmax(logits / temperature, axis=-1), atol=1e-5)
    assert found.dtype == np.float32


weights = arrays(np.float64, 6, elements=st.one_of(st.just(0.0), st.floats(1e-6, 1))).filter(lambda one: one.any())


@given(weights, temperatures)
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_labels_never_changes(weights, temperature):
    probs = (weights / weights.sum()).astype(np.float32)
    found = with_temperature(probs, temperature)
    assert np.diff(found[np.argsort(probs)]).min() >= -1e-6
    assert found.sum() == pytest.approx(1, abs=1e-5)
    runner_up, best = np.sort(probs)[-2:]
    if best > 1.001 * runner_up:
        assert found.argmax() == probs.argmax()


@pytest.mark.parametrize("temperature", [MIN_TEMPERATURE, 0.5, 1.0, MAX_TEMPERATURE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_zero_give_finite_numbers(temperature, dtype):
    found = with_temperature(np.array([[1, 0, 0], [0, 0.5, 0.5]], dtype), temperature)
    assert np.isfinite(logarithms(np.zeros(3, dtype))).all()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found[0, 0] == found[0].max()
