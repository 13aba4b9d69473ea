"""Kinds of teachers: a module each, found by its name.

A module has ``TAKES`` (a `Takes`); a dataclass ``Options`` (its fields are the settings of this kind; the first may be
given as addresses behind the kind, ``NAME=KIND:ADDRESS,ADDRESS``); and ``load(name, options, device, precision)``,
which gives a `Teacher`. It imports what takes seconds in ``load``, as `later` does. One that computes on the CPU
whatever the device says so in ``on_cpu(options)``, and a pool of such teachers is fitted to hold no GPU. A kind of
one's own is named by its module with dots, ``energy=my_package.energy:``, and needs no change here.

A teacher of any kind says whom it has heard: in its `Target`, as those do that this package has trained, or in a file
`HEARD_FILE` beside its ``weights``.
"""

import json
import posixpath
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jsonargparse

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import exists, is_folder, read_bytes
from liser_ray.teachers.known import check_known, with_addresses
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.targets import Takes, TunedOn

if TYPE_CHECKING:  # PyTorch, which a dry run need not wait for
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

_ABOVE = {"student": "liser_ray.prediction.teacher"}
"""Kinds in folders above this one, which can't be imported from here but found by name."""

HEARD_FILE = "tuned_on.json"
"""The fields of a `TunedOn`, such as ``{"labeled": "ravdess", "fold": 0, "heard": ["1", "2"]}``."""


@dataclass(frozen=True)
class TeacherEntry:
    """A teacher as the settings name it.

    Attributes:
        name: of its targets.
        kind: its module.
        settings: of the module's `Options`. As they are, since a worker that can't import a kind of one's own could not
            unpickle its options either, and nobody would be told why.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]

    @property
    def options(self) -> Any:  # noqa: ANN401 (of any kind)
        """The kind's `Options`."""
        return _module(self.kind).Options(**self.settings)

    @property
    def takes(self) -> Takes:
        """The teacher's input."""
        takes: Takes = _module(self.kind).TAKES
        return takes

    @property
    def on_cpu(self) -> bool:
        """Whether it has no use for a GPU."""
        return bool(getattr(_module(self.kind), "on_cpu", lambda options: False)(self.options))

    def load(self, device: "torch.device", precision: "Precision" = "float32") -> "Teacher":
        """The teacher on a device; UserError if its kind is not on this machine, or weights are missing or wrong."""
        for value in self.settings.values():
            if isinstance(value, str):
                check_known(value)
        teacher: Teacher = _module(self.kind).load(self.name, self.options, device, precision)
        if teacher.takes != self.takes:
            raise UserError(
                f"--teachers {self.name}: {self.kind} has TAKES = {self.takes!r}, but its teacher takes "
                f"{teacher.takes!r}: give its class the same takes."
            )
        weights = getattr(self.options, "weights", "")
        of_target = expanded(self.name, weights)
        teacher.targets = tuple(
            one if one.tuned_on else replace(one, tuned_on=heard_beside(of_target.get(one.name, weights)))
            for one in teacher.targets
        )
        return teacher


def read_teachers(teachers: Mapping[str, Any] | Sequence[str], trust_remote_code: bool = False) -> list[TeacherEntry]:
    """The teachers that settings name.

    Args:
        teachers: by name either ``KIND:ADDRESS`` (more addresses after commas) or the kind's settings with its name as
            ``kind``; or a list of ``NAME=KIND:ADDRESS``. An address may be a name of `liser_ray.teachers.known`.
        trust_remote_code: whether code that models bring along runs, of those kinds that have such models.

    Raises:
        UserError: a name that is none or comes twice, a kind that is not there, a setting that it has not.
    """
    if not isinstance(teachers, Mapping):
        pairs = [one.partition("=")[::2] for one in teachers]
        if len({name for name, _ in pairs}) < len(pairs):
            raise UserError(f"--teachers: a name comes twice in {', '.join(name for name, _ in pairs)}.")
        teachers = dict(pairs)
    entries = [_entry(name, value) for name, value in teachers.items()]
    trusting = {"trust_remote_code": True} if trust_remote_code else {}
    return [
        replace(one, settings={**one.settings, **trusting}) if trusting.keys() <= one.settings.keys() else one
        for one in entries
    ]


def later(module: str, function: str) -> "Callable[[str, Any, torch.device, Precision], Teacher]":
    """A kind's ``load``: a function of a module that takes seconds to import, which is when it is called."""

    def load(name: str, options: Any, device: "torch.device", precision: "Precision") -> "Teacher":  # noqa: ANN401
        teacher: Teacher = getattr(import_module(module), function)(name, options, device, precision)
        return teacher

    return load


def kind_names() -> list[str]:
    """Of the kinds that come with the package, in order."""
    return sorted({*_ABOVE, *(one.stem for one in Path(__file__).parent.glob("[a-z]*.py"))})


def heard_beside(weights: str) -> TunedOn | None:
    """What `HEARD_FILE` says in a folder of weights, or beside a file of them; None where there is none.

    Raises:
        UserError: it says something else.
    """
    if weights.startswith("hf://"):
        from liser_ray.storage.fetch import fetch  # the hub's library, which a dry run need not wait for

        weights = str(fetch(weights))
    if not weights or weights.startswith("https://"):
        return None  # beside a file on the web there is nothing
    file = join(weights if is_folder(weights) else posixpath.dirname(absolute(weights)), HEARD_FILE)
    if not exists(file):
        return None
    try:
        return TunedOn.from_json(json.loads(read_bytes(file)))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{file} does not say whom the teacher has heard ({error!r}): give labeled (the set's name), fold (its "
            "number) and heard (a list of its speakers)."
        ) from error


def _entry(name: str, value: Any) -> TeacherEntry:  # noqa: ANN401 (as a settings file has it)
    if not name.isidentifier() or not value:
        raise UserError(
            f"--teachers {name!r}: give NAME=KIND:ADDRESS, such as face=s2d:s2d.pth,landmarks.pth or "
            "speech=speech:out/teachers/fold-*, the name of letters, digits and _."
        )
    if isinstance(value, str):
        kind, colon, addresses = value.partition(":")
        if not colon:
            if kind in kind_names():
                raise UserError(f"--teachers {name}={value}: behind the kind there is a colon: {name}={kind}:")
            raise UserError(f"--teachers {name}={value}: say of which kind it is, such as {name}=speech:{value}.")
        settings: dict[str, Any] = {}
        given = [one for one in addresses.split(",") if one]
    elif isinstance(value, Mapping) and isinstance(value.get("kind"), str):
        settings = {key: one for key, one in value.items() if key != "kind"}
        kind, given = value["kind"], []
    else:
        raise UserError(f"--teachers {name}: give its kind, and the settings of that kind, not {value!r}.")
    options = _module(kind).Options
    names = [one.name for one in fields(options)]
    if len(given) > len(names):
        raise UserError(f"--teachers {name}={value}: {kind} takes at most {len(names)} addresses.")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(options)
    try:
        addressed = with_addresses(kind, settings | dict(zip(names, given, strict=False)))
        parsed = parser.parse_object(addressed)
        entry = TeacherEntry(name, kind, vars(parser.instantiate_classes(parsed)))
        least = min(1, getattr(options, "batch_size", 1))  # 0 where it may be fitted to the device
        if (size := getattr(entry.options, "batch_size", 1)) < least:
            raise UserError(f"--teachers {name}: its batch_size is {size}: give {least} or more.")
        return entry
    except jsonargparse.ArgumentError as error:
        has = f"the settings {', '.join(names)}" if names else "no settings"
        raise UserError(f"--teachers {name}: {kind} has {has}. {error}") from error


def _module(kind: str) -> ModuleType:
    if re.fullmatch(r"\w+(\.\w+)+", kind):
        try:
            return import_module(kind)
        except ModuleNotFoundError as error:
            raise UserError(
                f"The kind of teacher {kind} can't be imported on {socket.gethostname()}: {error}. Its code must be "
                "there: submit the job with its folder (ray job submit --working-dir .), or put the folder on "
                "PYTHONPATH on every machine before Ray is started there."
            ) from error
    module = _ABOVE.get(kind, f"{__name__}.{kind}")
    if not kind.isidentifier() or find_spec(module) is None:
        names = ", ".join(kind_names())
        raise UserError(f"There is no kind of teacher {kind!r}: give one of {names}, or a module of yours.")
    return import_module(module)
