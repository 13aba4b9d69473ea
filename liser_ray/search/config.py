"""Every setting of the search."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.recipes import read_recipe
from liser_ray.training.precision import Precision

Method = Literal["grid", "random", "tpe"]
Scheduler = Literal["none", "asha", "median"]


@dataclass(frozen=True)
class SearchConfig:
    """Try settings of the student, and find the one with the highest UAR on the validation speakers.

    Attributes:
        labeled: as in train_student.py: ravdess:FOLDER, cremad:FOLDER, or a CSV or Parquet file.
        unlabeled: output of label_corpus.py; not needed for recipes without teachers.
        output: folder or s3:// prefix for trials.parquet, best.yaml and pictures. The same command goes on where it
            was.
        resume: go on with the search that was begun in --output, with its settings; what else is given, such as more
            --samples or fewer --max_concurrent_trials, comes on top.
        recipe: what the student learns from, as in train_student.py; vid-dstl searches λ_vd alone, sp-dstl λ_sd.
        method: "grid" tries all combinations, "random" draws them, "tpe" draws them where earlier ones were good
            (Optuna's tree-structured Parzen estimator).
        space: what is tried, such as loss.lambda_sd=0.1,1,10 for these values or train.learning_rate=1e-4..1e-2 for a
            range (logarithmic where it begins above 0; not for a grid). Any field of --loss, --train and --network but
            network.normalisation. Default: λ_sd and λ_vd, the paper's five values each for a grid, else 0.01..100.
        samples: settings to draw; not for a grid.
        sampling_seed: of the draws.
        folds: "all", or numbers such as 0,2.
        seeds: numbers such as 0,1,2; each setting is tried with each of them on each fold.
        first_folds: try all settings on these folds first, and only the survivors on the others.
        survivors: share of the settings that go on after first_folds, 0..1.
        scheduler: "asha" stops trials early whose score is not in the best third at 1, 3, 9 ... times grace_epochs
            (asynchronous successive halving), "median" those below the median of the others' averages.
        grace_epochs: epochs before a trial may be stopped.
        population: students that are trained together as one batched computation, for a GPU (64, say); 0: each by
            itself. Then only loss.lambda_sd, loss.lambda_vd, train.learning_rate and train.weight_decay can differ.
        speech_teacher: name of the speech teacher in the labels table; empty: the one that was tuned on the fold. Where
            there are several of each fold, a pattern such as hubert_fold_*.
        min_video_valid: share of a video window's frames that must show the face for the window to count, 0..1.
        memory_gb: a labels table whose spectrograms take no more is held in memory, once per node; a larger one is
            streamed.
        loss: of all trials, but for what is searched.
        network: likewise.
        train: likewise.
        precision: arithmetic, as in train_student.py.
        workers: processes that share each batch of a trial, on Ray Train; 0: a trial is one process.
        gpus_per_worker: -1: a quarter of one where the cluster has any (a whole one with a population or several
            workers), else 0.
        cpus_per_worker: 0: one beside a GPU, else what the trials at once leave to each.
        max_concurrent_trials: 0: as many as the cluster has room for.
        max_failures: lost workers that a trial survives, from its last checkpoint on.
        checkpoint_every_s: seconds between the checkpoints of a trial, which are taken at the ends of epochs.
    """

    labeled: str = ""
    unlabeled: str = ""
    output: str = "out/search"
    resume: bool = False
    recipe: str = "conf-vid-sp-dstl"
    method: Method = "grid"
    space: list[str] = field(default_factory=list)
    samples: int = 25
    sampling_seed: int = 0
    folds: str = "all"
    seeds: str = "0"
    first_folds: str = ""
    survivors: float = 0.25
    scheduler: Scheduler = "none"
    grace_epochs: int = 5
    population: int = 0
    speech_teacher: str = ""
    min_video_valid: float = 0.5
    memory_gb: float = 4.0
    loss: LossConfig = field(default_factory=LossConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    precision: Precision = "auto"
    workers: int = 0
    gpus_per_worker: float = -1.0
    cpus_per_worker: int = 0
    max_concurrent_trials: int = 0
    max_failures: int = 3
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.grace_epochs < 1:
            raise UserError("samples and grace_epochs must be 1 or more.")
        if not 0 < self.survivors <= 1:
            raise UserError(f"survivors is {self.survivors}: give a share above 0, up to 1.")
        if min(self.population, self.max_concurrent_trials, self.sampling_seed) < 0:
            raise UserError("population, max_concurrent_trials and sampling_seed: 0 or more.")
        if self.population:
            raise UserError("Populations are gone, trials run beside each other: leave out --population.")

    @property
    def default_space(self) -> tuple[str, ...]:
        """The λs that the recipe has, with the paper's values or a wider range."""
        values = "0.1,0.5,1,5,10" if self.method == "grid" else "0.01..100"
        names = {"speech": "loss.lambda_sd", "video": "loss.lambda_vd"}
        return tuple(f"{names[teacher]}={values}" for teacher in read_recipe(self.recipe).teachers)

    def student(self) -> StudentConfig:
        """What is the same in all trials, as settings of train_student.py.

        Raises:
            UserError: a value that it refuses.
        """
        shared = {one.name for one in fields(StudentConfig)} & {one.name for one in fields(self)} - {"output"}
        values: dict[str, Any] = {name: getattr(self, name) for name in shared}
        return StudentConfig(**values)
