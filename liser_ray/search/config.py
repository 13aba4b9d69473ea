"""Every setting of the search."""

from dataclasses import dataclass, field
from typing import Literal

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import read_recipe


@dataclass(frozen=True)
class SearchConfig(StudentConfig):
    """Try settings of the student, and find the one with the highest UAR on the validation speakers.

    What is not searched is as in train_student.py, and the same in all trials.

    Attributes:
        output: folder or s3:// prefix for trials.parquet, best.yaml and pictures. The same command goes on where it
            was.
        seeds: numbers such as 0,1,2; each setting is tried with each of them on each fold.
        workers: processes that share each batch of a trial, on Ray Train; 0: a trial is one process.
        cpus_per_worker: 0: one beside a GPU, else what the trials at once leave to each.
        resume: go on with the search that was begun in --output, with its settings; what else is given, such as more
            --samples or fewer --max_concurrent_trials, comes on top.
        method: "grid" tries all combinations, "random" draws them, "tpe" draws them where earlier ones were good
            (Optuna's tree-structured Parzen estimator).
        space: what is tried, such as loss.lambdas.speech=0.1,1,10 for these values or
            train.learning_rate=1e-4..1e-2 for a range (logarithmic where it begins above 0; not for a grid). Any
            number, switch or choice of --loss, --train and --network but network.normalisation, network.chunks,
            train.augment.copies, train.placebo, train.align, loss.scalars and loss.clusters. Default: the λs of the
            recipe, the paper's five values each for a grid, else 0.01..100.
        samples: settings to draw; not for a grid.
        sampling_seed: of the draws.
        first_folds: try all settings on these folds first, and only the survivors on the others.
        survivors: share of the settings that go on after first_folds, 0..1.
        scheduler: "asha" stops trials early whose score is not in the best third at 1, 3, 9 ... times grace_epochs
            (asynchronous successive halving), "median" those below the median of the others' averages.
        grace_epochs: epochs before a trial may be stopped.
        max_concurrent_trials: 0: as many as the cluster has room for.
    """

    output: str = "out/search"
    resume: bool = False
    method: Literal["grid", "random", "tpe"] = "grid"
    space: list[str] = field(default_factory=list)
    samples: int = 25
    sampling_seed: int = 0
    first_folds: str = ""
    survivors: float = 0.25
    scheduler: Literal["none", "asha", "median"] = "none"
    grace_epochs: int = 5
    max_concurrent_trials: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1 or self.grace_epochs < 1:
            raise UserError("samples and grace_epochs must be 1 or more.")
        if not 0 < self.survivors <= 1:
            raise UserError(f"survivors is {self.survivors}: give a share above 0, up to 1.")
        if min(self.max_concurrent_trials, self.sampling_seed) < 0:
            raise UserError("max_concurrent_trials and sampling_seed: 0 or more.")

    @property
    def default_space(self) -> tuple[str, ...]:
        """The λs that the recipe has, with the paper's values or a wider range."""
        values = "0.1,0.5,1,5,10" if self.method == "grid" else "0.01..100"
        return tuple(f"loss.lambdas.{name}={values}" for name in self.learned.lambdas)

    @property
    def learned(self) -> LossConfig:
        """What the students learn, with the recipe's targets."""
        return read_recipe(self.recipe).loss(self.loss)
