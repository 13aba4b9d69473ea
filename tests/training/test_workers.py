from dataclasses import replace

import pytest

from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig
from liser_ray.training.config import WorkerSettings
from liser_ray.training.workers import fit_workers


def test_runs_train_beside_each_other_as_far_as_the_cluster_goes():
    needs = WorkerSettings(workers=1)
    scaling, at_once = fit_workers(needs, 5, {"CPU": 66, "GPU": 8}, [66])
    assert (at_once, scaling.use_gpu, scaling.resources_per_worker) == (5, True, {"CPU": 1.0, "GPU": 1.0})
    assert fit_workers(replace(needs, workers=4), 5, {"CPU": 66, "GPU": 8}, [66])[1] == 2
    scaling, at_once = fit_workers(needs, 5, {"CPU": 12}, [12])
    assert (at_once, scaling.use_gpu, scaling.resources_per_worker) == (5, False, {"CPU": 2.0})
    assert fit_workers(needs, 5, {"CPU": 4}, [4])[1] == 2
    with pytest.raises(UserError, match="do not fit"):
        fit_workers(replace(needs, workers=8, gpus_per_worker=1), 5, {"CPU": 66, "GPU": 4}, [66])


def test_workers_fit_on_nodes():
    """Of two nodes with 16 CPUs nobody gets 30; four CPUs twice are on no nodes of 7 and 3."""
    needs = WorkerSettings(workers=1)
    scaling, at_once = fit_workers(needs, 1, {"CPU": 32}, [16, 16])
    assert (at_once, scaling.resources_per_worker) == (1, {"CPU": 16.0})
    assert fit_workers(replace(needs, workers=3), 1, {"CPU": 32}, [16, 16])[0].resources_per_worker == {"CPU": 8.0}
    for changes, nodes in (({"cpus_per_worker": 20}, [16, 16]), ({"cpus_per_worker": 4, "workers": 2}, [7, 3])):
        with pytest.raises(UserError, match=rf"of nodes with {nodes[0]} at most"):
            fit_workers(replace(needs, **changes), 1, {"CPU": sum(nodes)}, nodes)


def test_small_runs_share_a_gpu():
    scaling, at_once = fit_workers(WorkerSettings(workers=1), 20, {"CPU": 66, "GPU": 2}, [66], 0.25)
    assert (at_once, scaling.resources_per_worker) == (8, {"CPU": 1.0, "GPU": 0.25})


def test_workers_that_share_a_batch_share_no_gpu():
    needs = WorkerSettings(workers=4)
    scaling, at_once = fit_workers(needs, 20, {"CPU": 66, "GPU": 8}, [66], 0.25)
    assert (at_once, scaling.resources_per_worker) == (2, {"CPU": 1.0, "GPU": 1.0})
    with pytest.raises(UserError, match="do not fit"):
        fit_workers(needs, 20, {"CPU": 66, "GPU": 2}, [66], 0.25)
    with pytest.raises(UserError, match="share each batch need a whole"):
        fit_workers(replace(needs, gpus_per_worker=0.5), 20, {"CPU": 66, "GPU": 8}, [66])


@pytest.mark.parametrize("settings", [FinetuneConfig, StudentConfig])
def test_each_worker_has_something_of_the_smallest_batch(settings):
    train = type(settings().train)
    settings(workers=4, train=train(batch_size=8))
    with pytest.raises(UserError, match=r"--train\.batch_size 8 or more, or fewer --workers"):
        settings(workers=4, train=train(batch_size=7))
