import pytest
from process_tree import Done, Look, Watched

from liser_ray.labeling.job import label_corpus


def label_here(run_job, config):
    """In place of `watch`: the job on the tests' cluster, which saves starting one."""
    result = label_corpus(config)
    outcomes = {f"{status}:{reason}": n for (status, reason), n in result.outcomes.items()}
    looks = [Look(at, cpu_s={"driver": at}, memory=1, shared=0, root=1) for at in (0.0, 1.0)]
    done = [Done(0.5, result.plan.spans, result.plan.to_label_s)]
    return Watched(0.0, 1.0, looks, done, {"outcomes": outcomes, "spilled": 0})


@pytest.mark.slow
def test_a_quick_run_labels_every_span(ray_session, yunet_home, tmp_path, monkeypatch, capsys):
    import growth

    monkeypatch.setattr(growth, "watch", label_here)
    growth.main(["--quick", "--results", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert [row[:2] for row in rows if row[0].isdigit()] == [["10", "10"]]
    assert not list(tmp_path.iterdir())


def test_what_grows_faster_than_linearly_is_named():
    import growth

    exponents = {"work": 0.98, "per_span": -0.02, "driver_memory": 0.1, "memory": None}
    assert growth.verdict(exponents) == "Nothing grows faster than linearly."
    assert "s per span, steady (exponent 0.30)" in growth.verdict({**exponents, "per_span": 0.3})
    assert "first span to the end, s (exponent 1.30)" in growth.verdict({**exponents, "work": 1.3})
