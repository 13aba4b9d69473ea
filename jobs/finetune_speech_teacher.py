"""Train speech teachers: ``python jobs/finetune_speech_teacher.py --labeled ravdess:DIR --output DIR``."""

from liser_ray.jobs.finetune_speech_teacher import main
from liser_ray.runtime.exits import run

if __name__ == "__main__":
    run(main)
