"""Label a corpus: ``python jobs/label_corpus.py --input DIR --output DIR --teachers NAME=KIND:ADDRESS ...``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.planning import describe_plan, plan_corpus

DESCRIPTION = """\
Label recordings of people talking with teachers that listen (HuBERT, Whisper and their kin, a student) or look at
faces (S2D, image classifiers), into a Parquet table with a row for every 16 seconds. Without --input it labels the
generated demo corpus with its small teachers.

The job can be killed at any time: the same command goes on where it was.

  python jobs/label_corpus.py
  python jobs/label_corpus.py --input videos/ --output labels/ --dry_run
  python jobs/label_corpus.py --input s3://bucket/videos --output s3://bucket/labels
      --teachers face=s2d:hf://cyinen/S2D/FILE,models/mobilefacenet.pth.tar speech=speech:s3://bucket/teachers/fold-*
  python jobs/label_corpus.py --input calls/ --output labels/ --teachers speech=speech:out/teachers/fold-*   sound alone
  python jobs/label_corpus.py --config label.yaml --extend                   recordings that came since
  python jobs/label_corpus.py --config label.yaml --retry_failed
  python jobs/label_corpus.py --config label.yaml --part 1/4                 on one of four clusters, after --dry_run
  python jobs/label_corpus.py --config label.yaml --measure                  how fast is this, and which pools fit?
  python jobs/label_corpus.py --config label.yaml --measure --measure.cpus 80 --measure.gpus 8 --measure.nodes 10
  python jobs/label_corpus.py --config label.yaml --config labels/measure/pools.yaml    what comes later counts
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, make the demo's files if that is what is asked for, plan or label, print what came of it."""
    config = parse_settings(
        LabelConfig,
        DESCRIPTION,
        argv,
        bare={"--measure": '{"seconds": 60}', "--retry_failed": "transient"},
        lists=("--teachers", "--require", "--plan.allowed_roots"),
    )
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: the teachers alone take ten seconds.
    if not config.input:
        from liser_ray.demo.steps import demo_settings

        config = demo_settings(config)
    if config.dry_run:
        print(describe_plan(plan_corpus(config), n_teachers=max(1, len(config.entries))))
        print("  not looked at: the teachers and their weights, which are loaded when labeling begins")
    elif config.measure.seconds:
        from liser_ray.labeling.measure import measure_corpus, print_measurement

        print_measurement(*measure_corpus(config), config.prices)
    else:
        from liser_ray.labeling.job import label_corpus, print_result

        print_result(label_corpus(config), config.extend)
