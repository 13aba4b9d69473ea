"""The page of a labeling job, made again: ``python jobs/report_corpus.py --output DIR``."""

from liser_ray.jobs.report_corpus import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
