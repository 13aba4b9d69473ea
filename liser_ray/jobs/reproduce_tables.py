"""The papers' tables: ``python jobs/reproduce_tables.py --labeled ravdess:DIR cremad:DIR --unlabeled LABELS``."""

import logging
from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.reproduction.config import ReproductionConfig, defaults_of_paper

DESCRIPTION = """\
Train every configuration of the LiSER paper's Tables 2 and 3 and of its Figure 2, or our student of each row of
EmoDistill's, and write our scores, with intervals over speakers and seeds, beside the paper's: Markdown tables,
pictures, and a JSON record of each.

The job can be killed at any time: the same command goes on where it was.

  python jobs/reproduce_tables.py --labeled ravdess:data/RAVDESS --seeds 0,1
  python jobs/reproduce_tables.py --labeled ravdess:s3://bucket/RAVDESS cremad:s3://bucket/CREMA-D
      --unlabeled s3://bucket/labels --seeds 0,1,2,3,4 --workers 1 --output s3://bucket/tables
  python jobs/reproduce_tables.py --paper emodistill --labeled ravdess:data/RAVDESS --distil_labeled out/labels
  python jobs/reproduce_tables.py --records results --readme README.md docs/results.md
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, train what is missing, print the tables."""
    config = parse_settings(
        ReproductionConfig,
        DESCRIPTION,
        argv,
        lists=("--labeled", "--parts", "--readme", "--trusted"),
        defaults=defaults_of_paper,
    )
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch takes seconds.
    from liser_ray.reproduction.job import reproduce

    result = reproduce(config)
    of_paper = {"liser": ("table-2", "table-3"), "emodistill": ("emodistill", "strong-differences")}
    for name in (*of_paper[config.paper], "results"):
        if name in result.tables:
            print(f"\n{result.tables[name]}")
    for line in result.left_out:
        print(f"left out: {line}")
    print(f"\nTables and pictures: {result.output}/tables.md")
