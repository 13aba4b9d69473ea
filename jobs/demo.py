"""The whole flow on a small generated corpus: ``python jobs/demo.py``, as ``make demo`` does."""

from liser_ray.jobs.demo import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
