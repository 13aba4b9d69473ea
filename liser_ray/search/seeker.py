"""From settings to their results: what an earlier process has finished is read, the rest is trained on the cluster."""

import logging
import math
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from liser_ray.runtime.display import LiveDisplay, clock
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.results import SettingResult, ranked, score_text
from liser_ray.search.space import Axis, Setting, setting_key, setting_name
from liser_ray.search.trial import Kept, TrialPlan, read_begun, read_kept, trial_name, write_begun
from liser_ray.student.training.job import Checked, make_inputs, total_steps
from liser_ray.student.training.run import RunInputs

log = logging.getLogger(__name__)


class Seeker:
    """Tries settings.

    Args:
        config: of the search.
        axes: of its space.
        checked: what all students are trained on; read when the first of them is.

    Attributes:
        trained: keys of the settings that were trained, or gone on with.
    """

    def __init__(self, config: SearchConfig, axes: Sequence[Axis], checked: Checked):
        self._config, self._axes, self._checked = config, axes, checked
        self._inputs: RunInputs | None = None
        self._ref: Any = None
        self.trained: set[str] = set()

    def try_out(self, plan: TrialPlan, settings: Sequence[Setting] | None) -> list[SettingResult]:
        """The results of some settings, in their order; or with None of all that are suggested.

        Raises:
            UserError: the data or the cluster do not fit the options.
        """
        config = self._config
        kept = read_kept(plan)
        keys = kept if settings is None else map(setting_key, settings)
        results = {key: kept[key].result(plan) for key in keys if key in kept}
        found = {key: result for key, result in results.items() if result is not None}
        n_wanted = config.samples if settings is None else len(settings)
        n_missing = n_wanted - len(found)
        if found and n_missing > 0:
            log.info("%d of %d settings were finished before", len(found), n_wanted)
        if n_missing > 0:
            trained: dict[str, SettingResult] = {}

            def note(results: Sequence[SettingResult]) -> None:
                for one in results:
                    key = setting_key(one.setting)
                    if key not in found:
                        trained[key] = one
                        tqdm.write(_row(one, [*found.values(), *trained.values()], n_wanted))

            missing = None
            if settings is not None:
                # A scheduler compares with all others: it is told of the finished ones once more.
                again = config.scheduler != "none"
                missing = [setting for setting in settings if again or setting_key(setting) not in found]
            self._train(plan, missing, n_missing, kept, list(found.values()), note)
            self.trained |= trained.keys()
            found |= trained
            if len(found) < n_wanted and settings is not None:
                raise UserError("Ray Tune ended before all settings were tried. The same command goes on.")
        return list(found.values()) if settings is None else [found[setting_key(setting)] for setting in settings]

    def _train(
        self,
        plan: TrialPlan,
        missing: Sequence[Setting] | None,
        n_missing: int,
        kept: Mapping[str, Kept],
        known: Sequence[SettingResult],
        note: Callable[[Sequence[SettingResult]], None],
    ) -> None:
        # Seconds to import; not for a search that is done.
        import ray

        from liser_ray.runtime.cluster import start_ray
        from liser_ray.search.suggest import Suggestions
        from liser_ray.search.tuning import Resources, make_scheduler, tune_settings
        from liser_ray.training.workers import WorkerNeeds, fit_workers, shared_progress

        config = self._config
        start_ray()
        inputs = self._read(plan)
        per_trial = max(1, config.population // len({run.seed for run in plan.runs}))
        finished = {setting_key(one.setting) for one in known}
        begun = [] if missing is not None else _unfinished(read_begun(plan), finished, per_trial)
        n_fresh = len(missing) if missing is not None else max(0, n_missing - sum(map(len, begun)))
        n_trials = len(begun) + math.ceil(n_fresh / per_trial)
        needs = WorkerNeeds(
            max(1, config.workers), config.cpus_per_worker, config.gpus_per_worker, 1.0 if config.population else 0.25
        )
        limit = min(n_trials, config.max_concurrent_trials or n_trials)
        scaling, at_once = fit_workers(needs, limit, ray.cluster_resources())
        log.info("%d trials, %d at once, each with %s", n_trials, at_once, scaling.resources_per_worker)

        def steps(setting: Setting) -> int:
            one = kept.get(setting_key(setting))
            return total_steps(plan.jobs(setting, but=one.progress.histories if one else None), inputs)

        trials: Any
        if missing is None:
            seed = config.sampling_seed + len(known) + sum(map(len, begun))  # not the draws of the beginning again
            sizes = [min(per_trial, n_fresh - at) for at in range(0, n_fresh, per_trial)]
            trials = Suggestions(self._axes, seed, known, begun, sizes, partial(write_begun, plan)), n_trials
            of_each: dict[str, int] = {}
            total = n_missing * total_steps(plan.jobs({}), inputs)
        else:
            trials = [missing[at : at + per_trial] for at in range(0, len(missing), per_trial)]
            of_each = {setting_key(setting): steps(setting) for setting in missing}
            total = sum(of_each.values())
        tell, look = shared_progress()

        def after_trial(results: list[SettingResult]) -> None:
            settings = [one.setting for one in results]
            if settings:  # one that was stopped counts as a whole
                done = sum(of_each.get(setting_key(one), total // n_missing) for one in settings)
                tell(trial_name(settings), done, "done")
            note(results)

        resources = Resources(scaling, config.workers > 0, at_once, config.max_failures)
        scheduler = make_scheduler(config.scheduler, config.grace_epochs)
        with LiveDisplay("steps", total, look):
            tune_settings(plan, trials, self._ref, resources, scheduler, tell, after_trial)

    def _read(self, plan: TrialPlan) -> RunInputs:
        """What all trials share, once per search here and once per node in the object store."""
        import ray

        if self._inputs is None:
            self._inputs = make_inputs(plan.config, self._checked)
            streamed = self._inputs.table is not None and self._inputs.recordings is None
            if self._config.population and streamed:
                raise UserError("A population needs the labels table in memory: raise --memory_gb, or leave it out.")
            self._ref = ray.put(self._inputs)
        return self._inputs


def _unfinished(begun: Sequence[Sequence[Setting]], finished: Container[str], per_trial: int) -> list[list[Setting]]:
    """What is left of the trials that were begun, each setting once; in smaller ones if they may be no larger now."""
    trials, seen = [], set[str]()
    for trial in begun:
        left = {setting_key(one): one for one in trial if setting_key(one) not in finished}
        fresh = [one for key, one in left.items() if key not in seen]
        seen |= left.keys()
        trials += [fresh[at : at + per_trial] for at in range(0, len(fresh), per_trial)]
    return trials


def _row(result: SettingResult, so_far: Sequence[SettingResult], n_wanted: int) -> str:
    """A line of the table that grows while the search goes on."""
    best = " best so far" if ranked(so_far)[0] is result and result.status != "failed" else ""
    score = f"failed: {result.problem}" if result.status == "failed" else f"UAR {score_text(result)}"
    stopped = f" stopped after {max(run.epochs for run in result.runs)} epochs" if result.status == "stopped" else ""
    number = f"{len(so_far):>{len(str(n_wanted))}}/{n_wanted}"
    return f"{number}  {setting_name(result.setting):<24} {score}  {clock(result.seconds)}{stopped}{best}"
