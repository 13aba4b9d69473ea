"""Generated folders that appear whole or not at all, and are made once."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from liser_ray.runtime.errors import UserError

_STAMP = "demo.json"  # says from what the folder was made


def made_before(folder: Path, recipe: Mapping[str, object]) -> bool:
    """Whether the folder was made by this recipe, so that there is nothing to do."""
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text() == _text(recipe)


@contextmanager
def new_folder(folder: Path, recipe: Mapping[str, object]) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` at the end; after an error nothing is left of it.

    Raises:
        UserError: if `folder` holds something that the demo did not make.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder / _STAMP).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something that the demo did not make. Give a new or empty folder.")
    unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        (unfinished / _STAMP).write_text(_text(recipe))
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _text(recipe: Mapping[str, object]) -> str:
    return json.dumps(recipe, indent=1)
