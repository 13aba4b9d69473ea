import json

import pytest


@pytest.fixture
def results(tmp_path):
    """What two parts have written."""
    figures = {"steady": {"value": 12345.6, "unit": "spans"}, "of the pool": {"value": 0.93456, "unit": "1"}}
    content = {"command": "python benchmarks/growth.py", "machine": "a machine", "figures": figures}
    (tmp_path / "growth.json").write_text(json.dumps(content))
    (tmp_path / "teacher_speed_cpu.json").write_text(json.dumps({**content, "command": "python teacher_speed.py"}))
    return tmp_path


def test_one_table_has_every_figure_of_every_part(results):
    import bench

    text, found = bench.summary(results)
    assert set(found) == {"growth", "teacher_speed_cpu"}
    assert text.count("| steady | 12,346 | spans |") == 2
    assert text.count("| of the pool | 0.935 |  |") == 2
    assert "`python benchmarks/growth.py` ([growth.md](growth.md)). a machine" in text


@pytest.mark.slow
def test_each_precision_and_batch_has_its_line_with_the_work_of_its_windows():
    import teacher_speed
    import torch

    from liser_ray.teachers.s2d import S2DConfig

    mini = S2DConfig(embed_dim=96, depth=1, heads=3, frames=2)
    peaks = {"float32": 1e11, "bfloat16": 1e11}
    cpu = torch.device("cpu")
    speeds, changes = teacher_speed.measure_video(mini, peaks, cpu, (1, 2))
    assert [(one.precision, one.batch) for one in speeds] == [
        ("float32", 1),
        ("float32", 2),
        ("bfloat16", 1),
        ("bfloat16", 2),
    ]
    assert changes["float32"] == 0
    flops = teacher_speed.video_flops(mini)
    assert all(one.tflops == pytest.approx(one.windows_per_s * flops / 1e12) for one in speeds)
    assert "| S2D | bfloat16 | 2 |" in teacher_speed.table(speeds, {"S2D": changes})
