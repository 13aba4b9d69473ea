"""The labeling job in a process of its own, which may be killed."""

import logging
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import ray

from liser_ray.labeling import pipeline
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.job import label_corpus
from liser_ray.labeling.media_stage import MediaStage


def start_job(
    config: LabelConfig, ray_address: str, environment: Mapping[str, str] | None = None, started: Path | None = None
) -> BaseProcess:
    """The job on a cluster, forked from a process that has imported PyTorch and Transformers already.

    Args:
        config: its settings.
        ray_address: of the cluster.
        environment: of the job and its workers, besides what they have.
        started: a file that gets the id of each span that the media stage starts with.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([label_corpus.__module__, "transformers.models.hubert.modeling_hubert"])
    job = processes.Process(target=_label, args=(config, ray_address, dict(environment or {}), started))
    job.start()
    return job


def _label(config: LabelConfig, ray_address: str, environment: dict[str, str], started: Path | None) -> None:
    class NotedMediaStage(MediaStage):
        def _prepare(self, span):
            if not span["status"]:
                with started.open("a") as notes:
                    notes.write(span["span_id"] + "\n")
            return super()._prepare(span)

    if started:
        pipeline.MediaStage = NotedMediaStage
    os.environ.update(environment)
    workers = {"env_vars": environment} if environment else None
    ray.init(ray_address, runtime_env=workers, log_to_driver=False, logging_level=logging.ERROR)
    label_corpus(config)
