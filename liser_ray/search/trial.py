"""A trial: the students of one or several settings, over folds and seeds, epoch by epoch.

Nothing here knows Ray. After each epoch there is a score of every setting over all its folds, so that a scheduler
compares like with like. What is finished is kept in the search's folder: a trial that is started again tells its
epochs once more, at once, and goes on from there.
"""

import json
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol, cast

from liser_ray.runtime.display import Tell
from liser_ray.search.results import RunScore, SettingResult, Status, from_json, to_json
from liser_ray.search.space import Setting, setting_key, setting_name, with_setting
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, filesystem, list_files, read_bytes, write_bytes
from liser_ray.student.training.config import RunJob, StudentConfig, TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.run import RunInputs, make_training, validation_set
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.fit import EpochScore, ProcessGroup, Training, best_epoch, same_for_all
from liser_ray.training.memory import keep_freed_memory

TRIALS_FOLDER = "trials"
_BEGUN = ".begun.json"
_TELL_EVERY_S = 1.0
_READERS = 16


class Run(NamedTuple):
    """A student of a setting."""

    fold: int
    seed: int


@dataclass(frozen=True)
class TrialPlan:
    """What is the same in all trials.

    Attributes:
        config: of the students, but for the settings.
        runs: students of each setting.
        together: whether the students of a fold are trained as a population.
        output: folder or s3:// prefix of the search.
    """

    config: StudentConfig
    runs: tuple[Run, ...]
    together: bool
    output: str

    def jobs(self, setting: Setting, but: Mapping[Run, Any] | None = None) -> list[RunJob]:
        """The students of a setting to train, but for some."""
        config = with_setting(self.config, setting)
        return [RunJob(config, "", run.fold, run.seed, "") for run in self.runs if run not in (but or {})]


@dataclass(eq=False)
class Place:
    """Where trials run one after another: a process, and what they share there.

    Attributes:
        inputs: of all trials.
        group: the processes that share a trial.
        validation: what the students of each fold are validated on, with its spectrograms.
    """

    inputs: RunInputs
    group: ProcessGroup
    validation: dict[int, EvaluationSet] = field(default_factory=dict)

    def training(self, job: RunJob) -> Training:
        """The training of a run, not begun."""
        if job.fold not in self.validation:
            self.validation[job.fold] = validation_set(job.config, self.inputs, job.fold, self.group.device)
        return make_training(job, self.inputs, self.group, self.validation[job.fold])


@dataclass(eq=False)
class Progress:
    """How far the students of a setting are.

    Attributes:
        histories: scores of the epochs of each run.
        problem: why one of them went wrong, "" while none has.
    """

    histories: dict[Run, list[EpochScore]]
    problem: str = ""


def read_progress(output: str, setting: Setting) -> Progress:
    """What is finished of a setting: runs with all their epochs, or its problem."""
    file = _scores_file(output, setting)
    return _progress_of(json.loads(read_bytes(file))) if exists(file) else Progress({})


def _progress_of(content: dict[str, Any]) -> Progress:
    histories = {
        Run(run["fold"], run["seed"]): [EpochScore(**score) for score in run["history"]] for run in content["runs"]
    }
    return Progress(histories, content["problem"])


def write_told(plan: TrialPlan, told: Sequence[SettingResult]) -> None:
    """Keep the results of a setting that was stopped, one after each epoch.

    Not of one that was trained to its end before: a scheduler that is told of it again, among others in another order,
    may stop it where it let it pass then.
    """
    setting = told[-1].setting
    if result_of(plan, setting, read_progress(plan.output, setting)).status != "stopped":
        return
    content = {"setting": dict(setting), "told": list(map(to_json, told))}
    write_bytes(_told_file(plan, setting), json.dumps(content, indent=1).encode())


def read_told(plan: TrialPlan, setting: Setting) -> list[SettingResult]:
    """What `write_told` has kept; nothing for a setting that was not stopped."""
    file = _told_file(plan, setting)
    return [from_json(text) for text in json.loads(read_bytes(file))["told"]] if exists(file) else []


def write_begun(plan: TrialPlan, settings: Sequence[Setting]) -> None:
    """Keep what a trial was suggested to try: nobody would suggest it again."""
    content = [dict(setting) for setting in settings]
    name = setting_key({"begun": json.dumps(content)}) + _BEGUN
    write_bytes(join(plan.output, TRIALS_FOLDER, name), json.dumps(content).encode())


def read_begun(plan: TrialPlan) -> list[list[Setting]]:
    """The settings of each trial that `write_begun` has kept, finished or not."""
    files = list_files(join(plan.output, TRIALS_FOLDER), _BEGUN)
    return [json.loads(read_bytes(join(plan.output, TRIALS_FOLDER, posixpath.basename(file.path)))) for file in files]


@dataclass(eq=False)
class Kept:
    """What earlier processes have left of a setting.

    Attributes:
        setting: which one.
        progress: of `read_progress`.
        told: of `read_told`.
    """

    setting: Setting
    progress: Progress = field(default_factory=lambda: Progress({}))
    told: list[SettingResult] = field(default_factory=list)

    def result(self, plan: TrialPlan) -> SettingResult | None:
        """Of a setting that is done, was stopped, or has failed; None if there is something left to train."""
        result = result_of(plan, self.setting, self.progress)
        if result.status != "stopped":
            return result
        return self.told[-1] if self.told else None


def read_kept(plan: TrialPlan) -> dict[str, Kept]:
    """What there is of any setting, by its key; the folder is listed once, and its files are read beside each other."""
    fs, _ = filesystem(plan.output)

    def read(path: str) -> dict[str, Any]:
        with fs.open_input_stream(path) as stream:
            return cast("dict[str, Any]", json.loads(stream.read()))

    files = list_files(join(plan.output, TRIALS_FOLDER), ".json")
    paths = [file.path for file in files if not file.path.endswith(_BEGUN)]
    kept: dict[str, Kept] = {}
    with ThreadPoolExecutor(_READERS) as threads:
        for path, content in zip(paths, threads.map(read, paths), strict=True):
            one = kept.setdefault(setting_key(content["setting"]), Kept(content["setting"]))
            if "told" not in content:
                one.progress = _progress_of(content)
            elif _told_file(plan, one.setting).endswith(posixpath.basename(path)):
                one.told = list(map(from_json, content["told"]))
    return kept


class Trial:
    """The training of all runs of some settings, or of what is left of it.

    Args:
        plan: of the search.
        settings: one, or several that are trained together.
        place: to train in.
        tell: told now and then the trial's name, its steps in this and earlier processes, and a line about it.
    """

    def __init__(self, plan: TrialPlan, settings: Sequence[Setting], place: Place, tell: Tell):
        if place.group.device.type == "cpu":
            keep_freed_memory()
        self._plan, self._settings, self._group, self._tell = plan, settings, place.group, tell
        self._train = [with_setting(plan.config, setting).train for setting in settings]
        self._progress = [read_progress(plan.output, setting) for setting in settings]
        self._stopped = read_told(plan, settings[0]) if len(settings) == 1 else []
        self._crews = list(self._make_crews(place)) if not self._stopped else []
        self._epoch = 0
        self._kept_at_s = self._told_at_s = time.monotonic()
        keys: list[Any] = [
            [setting_key(settings[number]), *run] for crew in self._crews for number, run in crew.members
        ]
        self._state = join(plan.output, TRIALS_FOLDER, setting_key({"members": json.dumps(keys)}) + ".pt")
        if self._crews and exists(self._state):
            states = loaded(read_bytes(self._state), place.group.device)["crews"]
            for crew, state in zip(self._crews, states, strict=True):
                crew.load_state(state)
                self._note(crew)

    @property
    def finished(self) -> bool:
        """Whether every setting has been told to its end or has gone wrong."""
        ended = self._epoch >= (len(self._stopped) or max(map(_n_epochs, self._train)))
        return ended or (self._epoch > 0 and all(progress.problem for progress in self._progress))

    def next_epoch(self) -> list[SettingResult]:
        """Train an epoch of every run that has not had it yet; the results so far, one per setting."""
        self._epoch += 1
        if self._stopped:
            return [self._stopped[self._epoch - 1]]
        for number, crew in enumerate(self._crews):
            given_up = all(self._progress[setting].problem for setting, _ in crew.members)
            if crew.epochs < self._epoch and not crew.finished and not given_up:
                crew.run_epoch(lambda done, number=number: self._after_steps(number, done))  # type: ignore[misc]
                self._note(crew)
                self._keep()
        if self.finished and self._crews and self._group.rank == 0:
            self._write_scores()
        return [
            result_of(self._plan, setting, progress, self._epoch)
            for setting, progress in zip(self._settings, self._progress, strict=True)
        ]

    def _make_crews(self, place: Place) -> "Iterator[_Crew]":
        """What trains the runs that are not finished."""
        of_folds: dict[int, list[tuple[int, RunJob]]] = {}
        for number, setting in enumerate(self._settings):
            progress = self._progress[number]
            if not progress.problem:
                for job in self._plan.jobs(setting, but=progress.histories):
                    of_folds.setdefault(job.fold, []).append((number, job))
        for jobs in of_folds.values():
            members = [(number, Run(job.fold, job.seed)) for number, job in jobs]
            trainings = [place.training(job) for _, job in jobs]
            yield from (_Alone(member, training) for member, training in zip(members, trainings, strict=True))

    def _note(self, crew: "_Crew") -> None:
        for (number, run), history, problem in zip(crew.members, crew.histories, crew.problems, strict=True):
            progress = self._progress[number]
            progress.histories[run] = history
            progress.problem = progress.problem or (problem and f"fold {run.fold}, seed {run.seed}: {problem}")

    def _after_steps(self, number: int, done: int) -> None:
        if self._group.rank == 0 and time.monotonic() - self._told_at_s > _TELL_EVERY_S:
            self._told_at_s = time.monotonic()
            steps = sum(
                len(crew.members) * (done if other == number else crew.steps) for other, crew in enumerate(self._crews)
            )
            self._tell(trial_name(self._settings), steps, f"epoch {self._epoch}")

    def _keep(self) -> None:
        due = time.monotonic() - self._kept_at_s > self._plan.config.checkpoint_every_s
        if same_for_all(due, self._group.world_size) and self._group.rank == 0:
            write_bytes(self._state, saved({"crews": [crew.state() for crew in self._crews]}))
            self._kept_at_s = time.monotonic()

    def _write_scores(self) -> None:
        for setting, progress in zip(self._settings, self._progress, strict=True):
            runs = [
                {**run._asdict(), "history": [asdict(score) for score in history]}
                for run, history in sorted(progress.histories.items())
            ]
            content = {"setting": dict(setting), "problem": progress.problem, "runs": runs}
            write_bytes(_scores_file(self._plan.output, setting), json.dumps(content, indent=1).encode())
        if exists(self._state):
            fs, path = filesystem(self._state)
            fs.delete_file(path)


def result_of(plan: TrialPlan, setting: Setting, progress: Progress, epoch: int | None = None) -> SettingResult:
    """How a setting does.

    Args:
        plan: of the search.
        setting: which one.
        progress: of its runs.
        epoch: the last one that counts; None: all.
    """
    train = with_setting(plan.config, setting).train
    told = {run: progress.histories.get(run, [])[:epoch] for run in plan.runs}
    ended = all(len(history) >= _n_epochs(train) for history in told.values())
    status: Status = "done" if ended else "stopped"  # if nothing comes after this
    return SettingResult(
        setting=setting,
        status="failed" if progress.problem else status,
        problem=progress.problem,
        runs=tuple(_run_score(run, history, train) for run, history in told.items()),
        seconds=sum(score.seconds for history in told.values() for score in history),
    )


def trial_name(settings: Sequence[Setting]) -> str:
    """As a person reads it."""
    return setting_name(settings[0]) if len(settings) == 1 else f"{len(settings)} settings"


class _Crew(Protocol):
    """What trains some runs, epoch by epoch: one alone or many together."""

    members: list[tuple[int, Run]]  # number of the setting, and run

    @property
    def histories(self) -> list[list[EpochScore]]: ...
    @property
    def problems(self) -> list[str]: ...
    @property
    def epochs(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def run_epoch(self, after_steps: Callable[[int], None]) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def load_state(self, state: dict[str, Any]) -> None: ...


class _Alone:
    def __init__(self, member: tuple[int, Run], training: Training):
        self.members = [member]
        self.problems = [""]
        self._training = training

    @property
    def histories(self) -> list[list[EpochScore]]:
        return [self._training.history]

    @property
    def epochs(self) -> int:
        return len(self._training.history)

    @property
    def steps(self) -> int:
        return self._training.steps(self.epochs)

    @property
    def finished(self) -> bool:
        return self._training.finished or any(self.problems)

    def run_epoch(self, after_steps: Callable[[int], None]) -> None:
        try:
            self._training.run_epoch(after_steps)
        except FloatingPointError as error:
            self.problems = [str(error)]

    def state(self) -> dict[str, Any]:
        return {"training": self._training.state(), "problems": self.problems}

    def load_state(self, state: dict[str, Any]) -> None:
        self._training.load_state(state["training"])
        self.problems = state["problems"]


def _run_score(run: Run, history: Sequence[EpochScore], train: TrainConfig) -> RunScore:
    best = best_epoch(history, train)
    if best is None:
        return RunScore(run.fold, run.seed, None, 0, len(history))
    return RunScore(run.fold, run.seed, best.validation_uar, best.epoch, len(history))


def _n_epochs(train: TrainConfig) -> int:
    return train.epochs * (2 if train.two_stage else 1)


def _scores_file(output: str, setting: Setting) -> str:
    return join(output, TRIALS_FOLDER, f"{setting_key(setting)}.json")


def _told_file(plan: TrialPlan, setting: Setting) -> str:
    """Another one for other runs: a setting may be stopped on some folds and go on with all."""
    key = setting_key({**setting, "runs": json.dumps(plan.runs)})
    return join(plan.output, TRIALS_FOLDER, f"{key}.stopped.json")
