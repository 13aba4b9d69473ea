"""A kind of teacher of one's own that takes text: how many letters are said."""

from dataclasses import dataclass

import numpy as np

from liser_ray.teachers.targets import NOBODY, Target
from liser_ray.teachers.teacher import Answer, Teacher

TAKES = "text"


@dataclass(frozen=True)
class Options:
    """There is nothing to set."""


class Letters(Teacher):
    """A scalar of text."""

    takes = "text"

    def __init__(self, name):
        self.targets = (Target(name, "scalar", ("letters",), 0.0, 0.0, "", name, tuned_on=NOBODY),)

    def __call__(self, windows):
        counts = [sum(map(str.isalpha, one)) for one in windows]
        return {self.targets[0].name: Answer(np.array(counts, np.float32).reshape(-1, 1))}


def load(name, options, device, precision):
    return Letters(name)
