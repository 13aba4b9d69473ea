"""Labeled sets of files that hold nothing, for tests of what is read from their names and lists."""

import pytest

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.runtime.errors import UserError


def fill(folder, *names):
    """Files of one byte by these names, and the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def refusal(spec):
    """Why a set is not read, in words."""
    with pytest.raises(UserError) as refused:
        read_labeled_set(str(spec))
    return str(refused.value)
