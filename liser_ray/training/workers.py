"""Several Ray Train runs beside each other on one cluster, with one display."""

import functools
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import ray
import ray.train
import ray.train.torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from liser_ray.runtime.cluster import CPUS_FOR_RAY, cpus_of_nodes, start_ray
from liser_ray.runtime.display import LiveDisplay, RunsProgress
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import filesystem
from liser_ray.training.config import WorkerSettings
from liser_ray.training.fit import ProcessGroup
from liser_ray.training.job import RunT, TrainRun, train_safely
from liser_ray.training.memory import KEEP_FREED_MEMORY

log = logging.getLogger(__name__)


def train_on_ray(
    train: TrainRun[RunT],
    runs: Sequence[RunT],
    inputs: Any,  # noqa: ANN401
    settings: WorkerSettings,
    storage: str,
    n_steps: int,
    gpu_share: float,
) -> list[str]:
    """`train_runs` on a cluster, as many at once as it has room for; "" or what went wrong with each."""
    start_ray()
    scaling, at_once = fit_workers(settings, len(runs), ray.cluster_resources(), cpus_of_nodes(), gpu_share)
    log.info("%d runs, %d at once, each on %d × %s", len(runs), at_once, settings.workers, scaling.resources_per_worker)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # not on one that may go
    progress: Any = ray.remote(num_cpus=0)(RunsProgress).options(scheduling_strategy=here).remote()
    shared = {"train": train, "inputs": ray.put(inputs), "tell": functools.partial(_tell, progress)}

    def train_one(run: RunT) -> str:
        return run_trainer(train_worker, {"run": run, **shared}, run.name, storage, scaling, settings.max_failures)

    # Threads: each waits for a controller of its own, an actor.
    pool = ThreadPoolExecutor(at_once)
    try:
        with LiveDisplay("steps", n_steps, lambda _: cast("tuple[int, str]", ray.get(progress.snapshot.remote()))):
            return list(pool.map(train_one, runs))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        ray.shutdown()  # ends the workers, and with them the threads that wait for them
        raise


def train_worker(arguments: dict[str, Any]) -> str:
    """What runs in a Ray Train worker: its part of a run; "" or why that can't succeed (see `run_trainer`).

    Checkpoints are the run's own, in its folder: a restarted worker goes on from there.

    Args:
        arguments: "train", a `TrainRun`; "run"; "inputs", a reference to what all runs share; "tell".
    """
    inputs = ray.get(arguments["inputs"])
    return train_safely(arguments["train"], arguments["run"], inputs, process_group(), arguments["tell"])


def process_group() -> ProcessGroup:
    """A Ray Train worker's place among those that share a run."""
    context = ray.train.get_context()
    return ProcessGroup(
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        wrap=ray.train.torch.prepare_model,
    )


def fit_workers(
    settings: WorkerSettings,
    n_runs: int,
    resources: dict[str, float],
    nodes: Sequence[float],
    gpu_share: float = 1.0,
) -> tuple[ScalingConfig, int]:
    """What each worker gets, and how many of the runs a cluster with these ``resources`` can train at once.

    By default a worker takes ``gpu_share`` of a GPU where it is the only one; several that share each batch have a
    whole one each. Each has to fit on one of the ``nodes``, which have so many CPUs.

    Raises:
        UserError: not even one run fits, there is no node with CPUs, or several workers would share a GPU.
    """
    workers = settings.workers
    if workers > 1 and 0 < settings.gpus_per_worker < 1:
        raise UserError(
            f"{workers} workers with {settings.gpus_per_worker:g} of a GPU each: workers that share each batch need a "
            "whole one each (NCCL takes one process per GPU). Give --gpus_per_worker 1, or --workers 1."
        )
    if not resources.get("CPU"):
        raise UserError(
            "The cluster has no workers yet, so that no training can be fitted to it. Give their node type min_workers "
            "in cluster.yaml, `ray up cluster.yaml` again, and submit when `ray status` shows them."
        )
    n_gpus, n_cpus = resources.get("GPU", 0.0), max(1.0, resources.get("CPU", 0.0) - CPUS_FOR_RAY)
    share = gpu_share if workers == 1 else 1.0
    gpus = settings.gpus_per_worker if settings.gpus_per_worker >= 0 else min(share, n_gpus)
    room = [n_runs]
    if gpus:
        room.append(int(n_gpus / gpus / workers))
        cpus = settings.cpus_per_worker or 1
    else:
        cpus = settings.cpus_per_worker or max(1, int(n_cpus / workers / n_runs))
        while not settings.cpus_per_worker and cpus > 1 and sum(int(of // cpus) for of in nodes) < workers:
            cpus -= 1
    room += [int(n_cpus / cpus / workers), sum(int(of // cpus) for of in nodes) // workers]
    at_once = min(room)
    if at_once < 1:
        raise UserError(
            f"{workers} workers with {cpus} CPUs and {gpus:g} GPUs each do not fit the cluster, which has "
            f"{n_cpus:g} CPUs (of nodes with {max(nodes):g} at most) and {n_gpus:g} GPUs. Lower --workers, "
            "--cpus_per_worker or --gpus_per_worker."
        )
    per_worker = {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})
    return ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker=per_worker), at_once


def _tell(progress: Any, run: str, done: int, line: str) -> None:  # noqa: ANN401 (an actor)
    progress.add.remote(run, done, line)


def run_trainer(
    worker: Callable[[dict[str, Any]], str],
    arguments: dict[str, Any],
    name: str,
    storage: str,
    scaling: ScalingConfig,
    max_failures: int,
    callbacks: Sequence[Any] = (),
) -> str:
    """Train a run to its end; "" or what went wrong.

    Args:
        worker: of `TorchTrainer`; returns "" or why the training can't succeed, since Ray Train would try again after
            an exception.
        arguments: of the worker.
        name: of the run; one of the same name in the same storage goes on.
        storage: folder or s3:// prefix for Ray Train's own files.
        scaling, max_failures, callbacks: of Ray Train, see `fit_workers` and `WorkerSettings`.
    """
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    fs, path = filesystem(storage)
    trainer = TorchTrainer(
        cast("Any", worker),
        train_loop_config=arguments,
        scaling_config=scaling,
        run_config=cast("Any", RunConfig)(  # of Train V2, which the type checker doesn't see
            name=name,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": KEEP_FREED_MEMORY},
            callbacks=list(callbacks),
        ),
    )
    try:
        problem = cast("Any", trainer.fit()).return_value  # of Train V2's result
    except TrainingFailedError as error:
        last_line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().rpartition("\n")[2]
        return f"{last_line} The same command goes on from the last epoch."
    return str(problem or "")
