"""Settings of the calibration: those of the labeling job, and what to measure and to size for."""

from dataclasses import dataclass

from liser_ray.labeling.config import LabelConfig
from liser_ray.runtime.errors import UserError


@dataclass(frozen=True)
class CalibrateConfig(LabelConfig):
    """Measure the labeling job's stages on a node and size its pools. Takes any file that label_corpus.py takes.

    Attributes:
        output: folder or s3:// prefix for calibrate.json and calibrated.yaml; may be that of the labels.
        spans: how many are drawn, evenly over the recordings; the same ones each time.
        measure_s: about how long each of the four measurements may take, in seconds.
        cpus: CPUs that Ray counts with in the cluster to size for, all nodes together; 0: the cluster as it is now.
        gpus: its GPUs, with --cpus.
        nodes: its nodes, with --cpus; without: so many nodes like the measured one. One CPU of each is left to Ray.
    """

    output: str = "out/demo"
    spans: int = 24
    measure_s: float = 20.0
    cpus: float = 0.0
    gpus: int = 0
    nodes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spans < 1:
            raise UserError(f"--spans is {self.spans}: give how many to measure, 1 or more.")
        if self.measure_s <= 0:
            raise UserError(f"--measure_s is {self.measure_s:g}: give a number of seconds above 0.")
        if self.cpus < 0 or self.gpus < 0 or self.nodes < 0:
            raise UserError("--cpus, --gpus and --nodes must be 0 (as the cluster has them) or more.")
        if self.gpus and not self.cpus:
            raise UserError(
                "--gpus needs --cpus: how many CPUs the cluster has beside its GPUs. What the job prints says how many "
                "one GPU asks for."
            )
