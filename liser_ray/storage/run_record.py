"""What decides on an output, so that two runs that write to one place are the same run."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import liser_ray
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import exists, read_bytes


def plain(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """As it comes back from JSON, so that recipes compare equal."""
    return json.loads(json.dumps(value))


def package_versions(*packages: str) -> dict[str, str]:
    """Our version and those of the packages that decide on the numbers.

    Ours is not asked for: on a node of a cluster the package comes with each job and was never installed.
    """
    return {"liser-ray": liser_ray.__version__} | {name: version(name) for name in packages}


def refuse_changed_recipe(run_card: str, recipe: dict[str, Any]) -> None:
    """Refuse, with the differences, to go on in an output that was begun with another recipe.

    Args:
        run_card: address of a JSON file with the key ``recipe``, if the output was begun before.
        recipe: of this run, as `plain` gives it.
    """
    if not exists(run_card):
        return
    changes = list(_differences(json.loads(read_bytes(run_card))["recipe"], recipe))
    if changes:
        raise UserError(
            f"{run_card.rpartition('/')[0]} was begun with other settings:\n  "
            + "\n  ".join(changes)
            + "\nGive the same settings again, or another --output."
        )


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 (any JSON value)
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif _are_named(before) and _are_named(now):
        old, new = ({one["name"]: one for one in of} for of in (before, now))
        yield from _differences(old, new, path)
        if old.keys() == new.keys():
            yield from _differences([*old], [*new], f"order of {path}")
    elif isinstance(before, dict) and now is None:
        yield f"{path}: is gone"
    elif before is None and isinstance(now, dict):
        yield f"{path}: is new"
    else:
        says_nothing = path.endswith("sha256")
        yield f"{path}: {'differs' if says_nothing else f'was {json.dumps(before)}, is now {json.dumps(now)}'}"


def _are_named(value: Any) -> bool:  # noqa: ANN401 (any JSON value)
    """Whether it is a list of what has names, such as targets."""
    return isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value)
