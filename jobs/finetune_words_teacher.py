"""Train teachers of words: ``python jobs/finetune_words_teacher.py --labeled iemocap:DIR --output DIR``."""

from liser_ray.jobs.finetune_words_teacher import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
