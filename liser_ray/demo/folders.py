"""Generated folders that appear whole or not at all, and are made once."""

import csv
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from liser_ray.runtime.errors import UserError

_STAMP = "demo.json"  # says from what the folder was made


def make_once(folder: Path, recipe: Mapping[str, object], fill: Callable[[Path], None]) -> None:
    """Fill a folder that takes the place of `folder` at the end; nothing to do if it was made by this recipe.

    After an error nothing is left of it.

    Raises:
        UserError: if `folder` holds something that the demo did not make.
    """
    folder = folder.absolute()
    stamp, text = folder / _STAMP, json.dumps(recipe, indent=1)
    if stamp.is_file() and stamp.read_text() == text:
        return
    if folder.exists() and not stamp.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something that the demo did not make. Give a new or empty folder.")
    unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    unfinished.mkdir(parents=True)
    try:
        fill(unfinished)
        (unfinished / _STAMP).write_text(text)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A list for the jobs to read."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
