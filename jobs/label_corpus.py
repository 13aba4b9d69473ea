"""Label a corpus: ``python jobs/label_corpus.py --input DIR --output DIR --teachers NAME=KIND:ADDRESS ...``."""

from liser_ray.jobs.label_corpus import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
