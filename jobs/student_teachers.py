"""Students that teach: ``python jobs/student_teachers.py --students DIR --labeled ravdess:DIR --output DIR``."""

import logging
from collections.abc import Sequence

from liser_ray.cli import parse_settings
from liser_ray.exits import run
from liser_ray.teachers.student_bundles import StudentTeachersConfig

DESCRIPTION = """\
Make speech teachers of trained students, for those who have no pretrained one: all seeds of a fold together label
recordings that nobody has labeled, and new students learn from them (self-distillation).

  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe strong --seeds 0,1,2,3,4
      --train.held_out_speakers 0.2 --output out/elders
  python jobs/student_teachers.py --students out/elders --labeled ravdess:data/RAVDESS --output out/student-teachers

Then: python jobs/label_corpus.py --speech_teachers out/student-teachers/fold-* ...
and:  python jobs/train_student.py --recipe strong-sp-dstl --unlabeled ...
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, write the teachers, print their scores."""
    config = parse_settings(StudentTeachersConfig, DESCRIPTION, argv)
    logging.getLogger("liser_ray").setLevel(logging.INFO)
    # What follows is imported where it is needed: PyTorch takes seconds.
    from liser_ray.teachers.student_bundles import make_student_teachers

    print("fold  students  recordings    UAR    WAR  temperature  calibration error")
    for fold, card in make_student_teachers(config).items():
        scores = card["scores"]
        errors = f"{scores['calibration_error']:.2f} → {scores['calibration_error_with_temperature']:.2f}"
        calibrated = f"{card['temperature']:11.2f}  {errors}" if card["n_calibration_windows"] else "not calibrated"
        counts = f"{len(card['seeds']):8}  {scores['n_recordings']:10}"
        print(f"{fold:4}  {counts}  {scores['uar']:.3f}  {scores['war']:.3f}  {calibrated}")
    print(f"Teachers: {config.output}/fold-*, scored on each fold's test speakers")


if __name__ == "__main__":
    run(main)
