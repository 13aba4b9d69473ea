"""A recording that is unlike the training's is named, in memory and on the command line."""

import numpy as np
import pytest
from small_students import write_student

from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig
from liser_ray.student.familiar import least, measures, unlike

RATE_HZ = 16_000


def statistics(deviation_db, n_loud, rng):
    mean = np.where(np.arange(64) < n_loud, 0.0, -20.0) + rng.normal(0, 0.1, 64)
    return np.stack([np.ones(64), mean, np.full(64, deviation_db * np.log(10) / 10)]).astype(np.float32)


def test_what_is_below_the_trainings_is_named():
    rng = np.random.default_rng(3)
    found = least(statistics(rng.uniform(6, 12), rng.integers(40, 65), rng) for _ in range(400))
    assert found["movement_db"] == pytest.approx(6, abs=0.1)
    assert found["bands"] == pytest.approx(40, abs=0.5)
    assert unlike(statistics(8, 50, rng), found) == ()
    assert unlike(statistics(20, 64, rng), found) == ()
    (still,) = unlike(statistics(2, 50, rng), found)
    assert still.startswith("its bands move by 2.0 dB (in training by 6.0 and more)")
    assert len(unlike(statistics(2, 3, rng), found)) == 2
    assert least([]) == {}
    assert unlike(statistics(2, 3, rng), {}) == ()


def test_noise_moves_less_than_what_comes_and_goes_and_a_hum_has_few_bands(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 4 * RATE_HZ).astype(np.float32)
    bursts = noise * (np.sin(np.arange(len(noise)) / RATE_HZ * 2 * np.pi * 3) > 0)
    student = Student.from_pretrained(write_student(tmp_path / "s", NetworkConfig(normalisation="speech")))

    def measured(sound):
        return measures(student.backend.statistics(sound, (0, 1 + len(sound) // 512), None))

    assert measured(noise)["movement_db"] < 0.5 * measured(bursts)["movement_db"]
    assert measured(noise)["bands"] == 64
    hum = 0.3 * np.sin(2 * np.pi * 150 * np.arange(4 * RATE_HZ) / RATE_HZ) + 1e-5 * noise
    assert measured(hum.astype(np.float32))["bands"] < 20


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_the_command_warns_and_abstains(command, tmp_path, speech_folder, form):
    config = NetworkConfig(normalisation="speech")
    folder = write_student(tmp_path / "student", config, heard={"movement_db": 900, "bands": 0})
    told = "its bands move by"
    code, out, errors = command("predict", "--model", folder, *form, speech_folder / "low.wav")
    assert code == 0
    assert "unsure" not in out
    assert told in (out if form else errors)
    asked = [*form, "--abstain_below", "0.01", speech_folder / "low.wav"]
    _, out, _ = command("predict", "--model", folder, *asked)
    assert "unsure" in out
    as_usual = write_student(tmp_path / "usual", config, heard={"movement_db": 0, "bands": 0})
    _, out, errors = command(
        "predict", "--model", as_usual, *form, "--abstain_below", "0.01", speech_folder / "low.wav"
    )
    assert "unsure" not in out
    assert told not in out + errors
