"""The papers' tables: ``python jobs/reproduce_tables.py --labeled ravdess:DIR cremad:DIR --unlabeled LABELS``."""

from liser_ray.jobs.reproduce_tables import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
