"""What is tried: fields of the student's configuration, and the settings that lie in the space that they span."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig

Value = bool | int | float | str
Setting = Mapping[str, Value]
"""A point of the space: values by the fields' names, such as {"loss.lambdas.speech": 0.1, "train.epochs": 50}."""
Space = Mapping[str, BaseDistribution]
"""What each field may be, by the fields' names: choices, or a range, which is logarithmic where it begins above 0."""
C = TypeVar("C")

_LAMBDAS, _TEMPERATURES, _EMBEDDINGS = "loss.lambdas.", "loss.temperatures.", "loss.embeddings."
_SYMBOLS = {_LAMBDAS: "λ_", _TEMPERATURES: "τ_", _EMBEDDINGS: "β_"}


def parse_space(texts: Sequence[str], taught: Sequence[str] = (), embedded: Sequence[str] = ()) -> Space:
    """The space of texts such as "loss.lambdas.speech=0.1,1,10" or "train.learning_rate=1e-4..1e-2".

    Args:
        texts: each of a field.
        taught: names of the targets that have a λ, and so perhaps a temperature.
        embedded: names of the targets whose embeddings have a weight.

    Raises:
        UserError: no such field, one that can't be searched, no value of its kind, a field twice, or nothing.
    """
    space: dict[str, BaseDistribution] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not values:
            raise UserError(f"--space {text}: give NAME=VALUE,VALUE or NAME=LOW..HIGH, as loss.lambdas.speech=0.1,1.")
        if name in space:
            raise UserError(f"{name} is searched twice: give all its values after one =.")
        space[name] = _distribution(name, values, [*by_target(taught, embedded)])
    if not space:
        raise UserError("Nothing to search: give --space, such as --space train.learning_rate=1e-4,1e-3.")
    return space


def by_target(taught: Sequence[str], embedded: Sequence[str]) -> Iterator[str]:
    """Names of the fields that each target of the loss has for itself; of what see `parse_space`."""
    for of, names in ((_LAMBDAS, taught), (_TEMPERATURES, taught), (_EMBEDDINGS, embedded)):
        yield from (f"{of}{name}" for name in names)


def is_range(values: BaseDistribution) -> bool:
    """Whether a field may be anything between two ends, rather than one of some choices."""
    return not isinstance(values, CategoricalDistribution)


def n_values(values: BaseDistribution) -> float:
    """How many values a field may have; between two ends that are no whole numbers without end."""
    if isinstance(values, IntDistribution):
        return (values.high - values.low) // values.step + 1
    return math.inf if is_range(values) else len(ends_or_choices(values))


def ends_or_choices(values: BaseDistribution) -> tuple[Value, ...]:
    """All that a field is tried at, or both ends of its range."""
    of: Any = values
    return (of.low, of.high) if is_range(values) else of.choices


def combinations(space: Space) -> Iterator[Setting]:
    """All settings of choices and of the ends of ranges, the last field changing fastest."""
    for values in itertools.product(*map(ends_or_choices, space.values())):
        yield dict(zip(space, values, strict=True))


def draw(space: Space, n: int, seed: int) -> list[Setting]:
    """``n`` random settings, or all if there are less, each once; more of the same seed only add to them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found: dict[str, Setting] = {}
    for _ in range(100 * n):
        setting = study.ask(dict(space)).params
        found.setdefault(setting_key(setting), setting)
        if len(found) == n:
            break
    return list(found.values())


def with_setting(config: C, setting: Setting) -> C:
    """Settings of a student, or a part of them, with these values in place of its own, all of a dataclass at once.

    Raises:
        UserError: values that it refuses, together and with its own.
    """
    if isinstance(config, dict):
        return cast("C", config | dict(setting))
    parts: dict[str, dict[str, Value]] = {}
    for name, value in setting.items():
        part, _, field = name.partition(".")
        parts.setdefault(part, {})[field] = value
    new = {name: part[""] if "" in part else with_setting(getattr(config, name), part) for name, part in parts.items()}
    changed: C = replace(config, **new)  # type: ignore[type-var]
    return changed


def setting_name(setting: Setting) -> str:
    """As a person reads it: "λ_speech 0.1, λ_face 1"."""
    return ", ".join(f"{short_name(name)} {value_text(value)}" for name, value in setting.items())


def short_name(name: str) -> str:
    """Of a field: "λ_speech" of "loss.lambdas.speech", "learning_rate" of "train.learning_rate"."""
    before, _, last = name.rpartition(".")
    return _SYMBOLS.get(f"{before}.", "") + last


def value_text(value: Value) -> str:
    """A value in a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setting_key(setting: Setting) -> str:
    """A name for the files of a setting, the same in every run: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(setting), sort_keys=True).encode()).hexdigest()[:16]


def _distribution(name: str, text: str, of_targets: Sequence[str]) -> BaseDistribution:
    if name in ("network.normalisation", "network.chunks", "train.augment.copies", "loss.scalars"):
        raise UserError(
            f"{name} can't be searched: spectrograms and targets are made once, for all trials. Search with each "
            f"--{name} by itself."
        )
    if name in ("loss.clusters", "train.placebo", "train.align"):
        raise UserError(f"{name} can't be searched: what is read depends on it. Search with each --{name} by itself.")
    known: dict[str, Any] = dict.fromkeys(of_targets, float)
    known |= {field: kind for field, kind in _fields_of(StudentConfig) if "." in field}
    if name not in known:
        raise UserError(f"--space {name}: no such field. There are {', '.join(known)}.")
    kind = known[name]
    low, dots, high = text.partition("..")
    if not dots:
        values = [_parse(name, one.strip(), kind) for one in text.split(",")]
        return CategoricalDistribution(list(dict.fromkeys(values)))
    if kind not in (int, float):
        raise UserError(f"{name} has no ranges: give its values, as {name}=A,B.")
    ends = _parse(name, low, kind), _parse(name, high, kind)
    if not ends[0] < ends[1]:
        raise UserError(f"--space {name}={text}: the range must rise, from {low} to more.")
    return (IntDistribution if kind is int else FloatDistribution)(*ends, log=ends[0] > 0)


def _fields_of(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (a dataclass)
    """Names and types of numbers and names in a dataclass and in those that it holds."""
    for name, inner in get_type_hints(kind).items():
        if is_dataclass(inner):
            yield from _fields_of(inner, f"{prefix}{name}.")
        elif inner in (bool, int, float) or get_origin(inner) is Literal:
            yield prefix + name, inner


def _parse(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 (a value of that kind)
    allowed = ("true", "false") if kind is bool else get_args(kind)
    if allowed:
        if text not in allowed:
            raise UserError(f"--space {name}={text}: give one or more of {', '.join(allowed)}.")
        return text == "true" if kind is bool else text
    try:
        value = kind(text)
    except ValueError:
        raise UserError(f"--space {name}: {text!r} is not a {'whole ' * (kind is int)}number.") from None
    if not math.isfinite(value):
        raise UserError(f"--space {name}: {text} is not finite.")
    return value
