"""A trial: the students of one setting, of all folds and seeds, epoch by epoch; nothing here knows Ray.

All students advance together, so that a scheduler compares means over the same folds.
"""

import posixpath
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from liser_ray.search.config import SearchConfig
from liser_ray.search.results import RunScore, read_results
from liser_ray.search.space import Setting, setting_key, with_setting
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, list_files, read_bytes, write_bytes
from liser_ray.student.training.config import RunJob
from liser_ray.student.training.run import RunInputs, make_training, validation_set
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.fit import ProcessGroup, Training, best_epoch, same_for_all

OBJECTIVE = "validation_uar"
"""Key of a trial's report: mean over its folds and seeds, 0 if one of its students diverged."""


@dataclass(frozen=True)
class TrialPlan:
    """What is the same in all trials."""

    config: SearchConfig  # with what the students have in common
    runs: tuple[tuple[int, int], ...]  # fold and seed of each student of a setting
    folder: str  # for results and checkpoints

    def state_file(self, setting: Setting) -> str:
        """The checkpoint of a trial that is under way."""
        return join(self.folder, f"{setting_key(setting)}.pt")


def under_way(plan: TrialPlan) -> list[Setting]:
    """The settings of trials that have a checkpoint but no result."""
    names = [posixpath.basename(file.path) for file in list_files(plan.folder, ".pt")]
    done = read_results(plan.folder)  # if the search was killed between a result and the end of its checkpoint
    states = [join(plan.folder, name) for name in names if name.removesuffix(".pt") not in done]
    return [loaded(read_bytes(state))["setting"] for state in states]


class Trial:
    """The training of a setting, from its last checkpoint on, by a group of processes that share it.

    Attributes:
        finished: whether it has come to its end, or one of its students has diverged.
    """

    def __init__(self, plan: TrialPlan, setting: Setting, inputs: RunInputs, group: ProcessGroup):
        self._setting, self._group, self._state_file = setting, group, plan.state_file(setting)
        self._config = with_setting(plan.config, setting)
        validation = {fold: validation_set(self._config, inputs, fold, group.device) for fold in dict(plan.runs)}
        self._students = {
            (fold, seed): make_training(RunJob(self._config, fold, seed, ""), inputs, group, validation[fold])
            for fold, seed in plan.runs
        }
        self.finished = False
        self._epoch = 0
        self._curve: list[tuple[int, float]] = []
        self._saved_at_s = time.monotonic()
        if exists(self._state_file):
            states = loaded(read_bytes(self._state_file))["students"]
            for student, state in zip(self._students.values(), states, strict=True):
                student.load_state(state)

    def report(self) -> dict[str, Any]:
        """Train all students to the next epoch that has a score; a scheduler would take another's NaN for one.

        A trial that goes on from a checkpoint tells its first epochs once more.

        Returns:
            `OBJECTIVE`; "epoch"; "runs" and "curve" up to then, and "problem", as of a `SettingResult`; "ended",
            whether that was the last epoch.
        """
        scores: list[RunScore] = []
        problem = ""
        while not scores and not self.finished:
            self._epoch += 1
            try:
                for (fold, seed), student in self._students.items():
                    self._train(student)
                    scores += self._score(fold, seed, student)
            except FloatingPointError as error:
                problem = f"fold {fold}, seed {seed}: {error}"
            self.finished = bool(problem) or all(self._epoch >= one.epochs for one in self._students.values())
        # A first stage without labels has no scores, and is no grace.
        of_labels = max(1, self._epoch - (self._config.train.stages - 1) * self._config.train.epochs)
        objective = 0.0 if problem else float(np.mean([score["validation_uar"] for score in scores]))
        if scores:
            self._curve.append((of_labels, objective))
        return {
            OBJECTIVE: objective,
            "epoch": of_labels,
            "runs": tuple(scores),  # of lists Tune would make histograms
            "curve": tuple(self._curve),
            "problem": problem,
            "ended": self.finished,
        }

    def _train(self, student: Training) -> None:
        if len(student.history) >= self._epoch:
            return
        student.run_epoch()
        due = time.monotonic() - self._saved_at_s > self._config.checkpoint_every_s
        if same_for_all(due, self._group.world_size) and self._group.rank == 0:
            states = [one.state() for one in self._students.values()]
            write_bytes(self._state_file, saved({"setting": dict(self._setting), "students": states}))
            self._saved_at_s = time.monotonic()

    def _score(self, fold: int, seed: int, student: Training) -> list[RunScore]:
        """Of its best epoch so far; none if this epoch has none."""
        history = student.history[: self._epoch]
        best = best_epoch(history, student.settings)
        if history[-1].validation_uar is None or best is None:
            return []
        assert best.validation_uar is not None
        assert best.validation_loss is not None
        seconds = sum(score.seconds for score in history)
        return [
            RunScore(
                fold=fold,
                seed=seed,
                epochs=self._epoch,
                best_epoch=best.epoch,
                validation_uar=best.validation_uar,
                validation_loss=best.validation_loss,
                seconds=seconds,
            )
        ]
