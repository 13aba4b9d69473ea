"""Settings that all jobs that train have in common."""

from dataclasses import dataclass

from liser_ray.runtime.errors import UserError
from liser_ray.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Where a job's runs train, and in which arithmetic.

    Attributes:
        precision: arithmetic (autocast); "auto": bfloat16 on a GPU and on a CPU with AVX512_BF16 or AMX, which is twice
            as fast in it; another CPU computes in float32 whatever is given. Give float32 to train the same student
            on CPUs of several kinds, but for rounding.
        workers: processes that share each batch of a run (data parallel), on Ray Train; 0: train in this process, one
            run after the other.
        gpus_per_worker: -1: a quarter of one where the cluster has any (with several workers, a whole one), else 0.
        cpus_per_worker: 0: one.
        max_failures: lost workers that a run survives, from its last checkpoint on.
        checkpoint_every_s: seconds of training between checkpoints, which are taken at the ends of epochs.
    """

    precision: Precision = "auto"
    workers: int = 0
    gpus_per_worker: float = -1.0
    cpus_per_worker: int = 0
    max_failures: int = 3
    checkpoint_every_s: float = 30.0

    def check_workers(self, batch_size: int) -> None:
        """Refuse numbers without sense, and workers that get too little of a batch."""
        if min(self.workers, self.cpus_per_worker, self.max_failures, self.checkpoint_every_s) < 0:
            raise UserError("workers, cpus_per_worker, max_failures and checkpoint_every_s must be 0 or more.")
        if batch_size < 2 * self.workers:  # so that each gets something of a smaller batch
            raise UserError(
                f"{self.workers} workers need two recordings each of a batch, which has {batch_size}: give "
                f"--train.batch_size {2 * self.workers} or more, or fewer --workers."
            )
