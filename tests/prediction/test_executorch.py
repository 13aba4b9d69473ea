"""A student's ExecuTorch program; in an environment with liser-ray[executorch] and pytest."""

import numpy as np
import pytest
import torch
from small_students import write_student

from liser_ray.errors import UserError
from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig


@pytest.mark.parametrize("normalisation", ["none", "corpus", "utterance", "utterance-mean"])
def test_it_says_what_pytorch_says(tmp_path, normalisation):
    runtime = pytest.importorskip("executorch.runtime")
    student = Student.from_pretrained(write_student(tmp_path, NetworkConfig("attention", normalisation)))
    (tmp_path / "student.pte").write_bytes(student.export_executorch())
    method = runtime.Runtime.get().load_program(tmp_path / "student.pte").load_method("forward")
    rng = np.random.default_rng(0)
    statistics = rng.uniform(1, 2, (2, 64)).astype(np.float32) if normalisation.startswith("utterance") else None
    for _ in range(3):
        window = (0.1 * rng.standard_normal(48_000)).astype(np.float32)
        inputs = [torch.from_numpy(window)[None]] + ([] if statistics is None else [torch.from_numpy(statistics)])
        expected = student._classifier.window_logits(window, 1600, statistics)
        np.testing.assert_allclose(method.execute(inputs)[0].numpy(), expected, atol=1e-3)


def test_without_executorch_the_error_says_what_to_install(tmp_path):
    try:
        import executorch  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(UserError, match=r"liser-ray\[executorch\]"):
            Student.from_pretrained(write_student(tmp_path)).export_executorch()
    else:
        pytest.skip("ExecuTorch is installed")
