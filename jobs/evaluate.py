"""Score a classifier on labeled speech: ``python jobs/evaluate.py --model MODEL --labeled ravdess:DIR``."""

from liser_ray.jobs.evaluate import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main, interrupted="Interrupted.")
