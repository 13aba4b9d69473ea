"""How fast is a node, and which pools fit a cluster: ``python jobs/calibrate.py --config label.yaml``."""

import logging
from collections.abc import Sequence

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.exits import run

DESCRIPTION = """\
Measure the stages of the labeling job on one node, with a few spans of your input: decoding on one core and on all of
them, both kinds of teachers with batches of 1, 2, 4 ... Print what a cluster does with that in a day, whether its CPUs
or its GPUs hold it up, and what 1,000 hours cost; write pools and batch sizes as settings for label_corpus.py. Takes
the settings of label_corpus.py, and one or two minutes. Nothing is labeled. Without --input it measures on the
generated demo corpus.

The node is the largest of the Ray cluster that has a GPU, or if none has, the largest. Nothing else should run on it
meanwhile.

  python jobs/calibrate.py --config label.yaml
  python jobs/calibrate.py --config label.yaml --prices.cpu_hour 0.04 --prices.gpu_hour 0.60
  python jobs/calibrate.py --config label.yaml --nodes 8                       so many nodes like this one
  python jobs/calibrate.py --config label.yaml --cpus 80 --gpus 8 --nodes 10   a cluster that is not there yet
  ray job submit --working-dir . -- python jobs/calibrate.py --config configs/cluster/label.yaml
  python jobs/label_corpus.py --config label.yaml --config calibrated.yaml     what comes later counts
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, make the demo's files if that is what is asked for, measure, print what follows."""
    config = parse_settings(
        CalibrateConfig,
        DESCRIPTION,
        argv,
        lists=("--speech_teachers", "--video_teacher.labels", "--plan.allowed_roots"),
    )
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: Ray alone takes seconds.
    if not config.input:
        from liser_ray.demo.settings import demo_settings

        config = demo_settings(config, last="calibrate")
    from liser_ray.calibration.job import calibrate
    from liser_ray.calibration.report import print_calibration

    print_calibration(calibrate(config), config)


if __name__ == "__main__":
    run(main, interrupted="Interrupted.")
