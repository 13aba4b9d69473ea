"""How good the teachers are, by what they say of themselves: who is left out, and who is warned about."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import HeldOut, Target

log = logging.getLogger(__name__)

CHANCE_MARGIN = 0.05
"""So much above chance a UAR may come to by luck: a few hundred recordings of a few speakers."""


class NoTeacherLeftError(UserError):
    """All teachers of a recipe are too bad; other recipes may have better ones."""


def judge_teachers(
    by_fold: Mapping[int, Mapping[str, Target]], min_uar: float, weighted_by_confidence: bool, gate: bool = False
) -> frozenset[str]:
    """Names of the targets whose teachers are below a UAR, or hardly better than chance; what else is bad is a warning.

    The students of all folds have the same heads, so a teacher that is several is left out as a whole, by the mean over
    its folds: the UAR of one is good to about ± .05, and the worst of five would decide by its bad luck.

    Args:
        by_fold: targets by the fold's number and name.
        min_uar: 0..1; 0: none is left out.
        weighted_by_confidence: whether the teachers' confidence weighs their terms.
        gate: whether teachers that are hardly better than chance are left out too.

    Raises:
        NoTeacherLeftError: none is left.
    """
    names = list(dict.fromkeys(name for of in by_fold.values() for name in of))
    left_out = {}
    for name in names:
        targets = {of[name].name: of[name] for of in by_fold.values() if name in of}
        said = [one.held_out.uar for one in targets.values() if one.held_out]
        for warning in (words for one in targets.values() for words in _doubts(one, weighted_by_confidence)):
            log.warning("%s", warning)
        chance = 1 / len(next(iter(targets.values())).labels)
        if said and np.mean(said) < min_uar:
            left_out[name] = float(np.mean(said))
            log.warning("The teacher %s is left out: its UAR is %.3f, below %g.", name, left_out[name], min_uar)
        elif said and gate and np.mean(said) <= chance + CHANCE_MARGIN:
            left_out[name] = float(np.mean(said))
            log.warning("The teacher %s is left out: its UAR is %.3f, chance %.3f.", name, left_out[name], chance)
        elif (min_uar or gate) and not said:
            log.warning("The teacher %s stays, although it does not say how good it is.", name)
    if names and len(left_out) == len(names):
        raise NoTeacherLeftError(
            f"No teacher has a UAR of {min_uar:g}{' and more than chance' * gate}, but "
            f"{', '.join(f'{k} {uar:.3f}' for k, uar in left_out.items())}: give a lower --min_teacher_uar"
            f"{' or no --gate' * gate}, better teachers, or --recipe strong, which has none."
        )
    return frozenset(left_out)


def _doubts(target: Target, weighted_by_confidence: bool) -> Iterator[str]:
    """What is wrong with a teacher, in words."""
    held_out = target.held_out
    if held_out is None:
        return
    chance = 1 / len(target.labels)
    if held_out.uar <= chance + CHANCE_MARGIN:
        yield (
            f"The teacher of {target.name} is hardly better than chance ({chance:.3f}): its UAR on recordings that did "
            f"not train it{_measured(target, held_out)} is {held_out.uar:.3f}. --gate leaves such ones out."
        )
    auroc = held_out.confidence_auroc
    if weighted_by_confidence and auroc is not None and auroc <= 0.5:
        yield (
            f"The confidence of the teacher of {target.name} tells nothing: it is no surer where it is right than "
            f"where it is wrong (AUROC {auroc:.2f}, chance 0.5), but weighs its term. Give --loss.confidence none."
        )


def _measured(target: Target, held_out: HeldOut) -> str:
    """On how many recordings and in which hearing, in brackets, as far as it is known."""
    facts = []
    if held_out.recordings is not None:
        facts.append(f"{held_out.recordings} of {held_out.speakers} speakers")
    if held_out.hears_s is not None:
        length = f"windows of {target.window_s:g} s" if target.window_s else "whole recordings"
        around = f" heard with {held_out.hears_s:g} s around them" if held_out.hears_s > target.window_s else ""
        facts.append(f"in {length}{around}")
    return f" ({', '.join(facts)})" if facts else ""
