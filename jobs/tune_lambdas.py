"""The search for the λ of each target: ``python jobs/tune_lambdas.py --labeled ravdess:DIR --unlabeled LABELS``."""

from liser_ray.jobs.tune_lambdas import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
