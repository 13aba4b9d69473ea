"""Train the LiSER student: ``python jobs/train_student.py --labeled ravdess:DIR --unlabeled LABELS --recipe NAME``."""

from liser_ray.jobs.train_student import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
