"""What is tried: axes of the search space, the settings that lie in it, and students' configurations made of them."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import numpy as np

from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig

Value = bool | int | float | str
Setting = Mapping[str, Value]
"""A point of the space: values by the fields' names, such as {"loss.lambda_sd": 0.1, "loss.lambda_vd": 1.0}."""

TOGETHER = ("loss.lambda_sd", "loss.lambda_vd", "train.learning_rate", "train.weight_decay")
"""What the students of a population may differ in."""

_GROUPS = ("loss", "train", "network")
_SHORT = {"loss.lambda_sd": "λ_sd", "loss.lambda_vd": "λ_vd"}
_MAX_CORNERS = 10_000  # a quarter of a second to look at
_DIGITS = 4  # of drawn numbers: more tell nothing, and nobody wants to read them


@dataclass(frozen=True)
class Axis:
    """A field that is searched.

    Attributes:
        name: of the field, such as "loss.lambda_sd".
        choices: values to try; empty for a range.
        low, high: ends of the range.
        whole: whether it is one of whole numbers.
    """

    name: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    @property
    def logarithmic(self) -> bool:
        """Whether a range is drawn from by its logarithm."""
        return self.low > 0

    @property
    def ends(self) -> tuple[Value, Value]:
        """Of a range, as the field has them."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


def parse_space(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Axes of texts such as "loss.lambda_sd=0.1,1,10" or "train.learning_rate=1e-4..1e-2".

    Raises:
        UserError: no such field, one that can't be searched, no value of its kind, a field twice, or nothing.
    """
    axes = tuple(_parse_axis(text) for text in texts)
    names = [axis.name for axis in axes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{twice[0]} is searched twice: give all its values after one =.")
    if not axes:
        raise UserError("Nothing to search: give --space, such as --space train.learning_rate=1e-4,1e-3.")
    return axes


def grid(axes: Sequence[Axis]) -> list[Setting]:
    """All combinations, the last axis changing fastest.

    Raises:
        UserError: an axis is a range.
    """
    for axis in axes:
        if not axis.choices:
            raise UserError(
                f"{axis.name} is a range, of which a grid can't try all: give values, as {axis.name}=0.1,1, or "
                "--method random or tpe."
            )
    names = [axis.name for axis in axes]
    combinations = itertools.product(*(axis.choices for axis in axes))
    return [dict(zip(names, values, strict=True)) for values in combinations]


def corners(axes: Sequence[Axis]) -> Iterator[Setting]:
    """Combinations of all choices and of the ends of ranges, `_MAX_CORNERS` at most."""
    names = [axis.name for axis in axes]
    combinations = itertools.product(*(axis.choices or axis.ends for axis in axes))
    for values in itertools.islice(combinations, _MAX_CORNERS):
        yield dict(zip(names, values, strict=True))


def draw(axes: Sequence[Axis], n: int, seed: int) -> list[Setting]:
    """Random settings, each once: ranges evenly (by the logarithm where they begin above 0), choices alike.

    Returns:
        ``n`` of them, fewer where there are no more.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Setting] = {}
    for _ in range(100 * n):
        if len(found) == n:
            break
        setting = {axis.name: _draw(axis, rng) for axis in axes}
        found.setdefault(setting_key(setting), setting)
    return list(found.values())


def rounded(axes: Sequence[Axis], values: Mapping[str, Value]) -> Setting:
    """A setting with numbers that can be read: four digits of what was drawn from a range, still within it."""
    setting: dict[str, Value] = {}
    for axis in axes:
        value = values[axis.name]
        if isinstance(value, float) and not axis.choices:
            value = min(max(float(f"{value:.{_DIGITS}g}"), axis.low), axis.high)
        setting[axis.name] = value
    return setting


def with_setting(config: StudentConfig, setting: Setting) -> StudentConfig:
    """The configuration of a student with a setting's values.

    Raises:
        UserError: values that it refuses, together and with its own.
    """
    return cast("StudentConfig", _replaced(config, setting))


def setting_name(setting: Setting) -> str:
    """As a person reads it: "λ_sd 0.1, λ_vd 1"."""
    return ", ".join(f"{short_name(name)} {value_text(value)}" for name, value in setting.items())


def short_name(name: str) -> str:
    """Of a field: "λ_sd" of "loss.lambda_sd", "learning_rate" of "train.learning_rate"."""
    return _SHORT.get(name, name.rpartition(".")[2])


def value_text(value: Value) -> str:
    """A value in a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_key(setting: Setting) -> str:
    """A name for the files of a setting, the same in every run: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(setting), sort_keys=True).encode()).hexdigest()[:16]


def _parse_axis(text: str) -> Axis:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(f"--space {text}: give NAME=VALUE,VALUE or NAME=LOW..HIGH, as loss.lambda_sd=0.1,1,10.")
    kind = _kind_of(name)
    if ".." in values:
        low, high = (_parse(name, one, float) for one in values.split("..", 1))
        if kind not in (int, float):
            raise UserError(f"{name} has no ranges: give its values, as {name}=A,B.")
        if not low < high:
            raise UserError(f"--space {text}: the range must rise, from {low:g} to more.")
        return Axis(name, (), low, high, whole=kind is int)
    return Axis(name, tuple(dict.fromkeys(_parse(name, one.strip(), kind) for one in values.split(","))))


def _replaced(config: Any, values: Setting) -> Any:  # noqa: ANN401 (any of the dataclasses)
    """All values of a dataclass at once: one after the other, each would be refused beside those not there yet."""
    own: dict[str, Any] = {}
    of_parts: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if rest:
            of_parts.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    return replace(config, **own, **{one: _replaced(getattr(config, one), part) for one, part in of_parts.items()})


def _kind_of(name: str) -> Any:  # noqa: ANN401 (a type or a Literal)
    if name == "network.normalisation":
        raise UserError(
            "network.normalisation can't be searched: the spectrograms are made once, for all trials. Search with each "
            "--network.normalisation by itself."
        )
    known = {
        field: kind
        for group in _GROUPS
        for field, kind in _fields_of(group, type(getattr(StudentConfig(), group)))
        if field != "network.normalisation"
    }
    if name not in known:
        raise UserError(f"--space {name}: no such field. There are {', '.join(known)}.")
    return known[name]


def _fields_of(prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
    """Names and types of what can be searched in a dataclass and in those that it holds."""
    for field, inner in get_type_hints(kind).items():
        name = f"{prefix}.{field}"
        if is_dataclass(inner):
            yield from _fields_of(name, cast("type", inner))
        elif inner in (bool, int, float) or get_origin(inner) is Literal:
            yield name, inner


def _parse(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 (a value of that kind)
    allowed: tuple[str, ...] = ("true", "false") if kind is bool else ()
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
    if allowed:
        if text not in allowed:
            raise UserError(f"--space {name}={text}: give one or more of {', '.join(allowed)}.")
        return text == "true" if kind is bool else text
    try:
        value = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UserError(f"--space {name}: {text!r} is not {what}.") from None
    if not math.isfinite(value):
        raise UserError(f"--space {name}: {text} is not finite.")
    return value


def _draw(axis: Axis, rng: np.random.Generator) -> Value:
    if axis.choices:
        return axis.choices[rng.integers(len(axis.choices))]
    if axis.whole:
        return int(rng.integers(int(axis.low), int(axis.high) + 1))
    if axis.logarithmic:
        value = math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
    else:
        value = rng.uniform(axis.low, axis.high)
    return cast("float", rounded([axis], {axis.name: value})[axis.name])
