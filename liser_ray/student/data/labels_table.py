"""The labels table as a student's source: its targets, its usable rows, and whom a teacher has heard."""

import hashlib
import json
import logging
import math
import posixpath
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.utterance import EVERYBODY
from liser_ray.labeling.schema import RECIPE_KEY, flat_windows, read_recipe
from liser_ray.results.records import sorted_speakers
from liser_ray.results.set_names import identity, set_names
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import exists, filesystem, list_files, read_bytes
from liser_ray.teachers.targets import Target, refuse_leak

log = logging.getLogger(__name__)

_RECIPE = RECIPE_KEY.encode()
READERS = 16
"""Threads that read groups: they wait for the store."""
_COUNTED = ["status", "start_s", "end_s", "content_hash"]


class RowGroup(NamedTuple):
    """A row group of a file: how many of its rows are labeled (the others are passed over), and seconds of sound."""

    path: str
    number: int
    n_rows: int
    seconds: float


class Scale(NamedTuple):
    """Mean and standard deviation of a scalar over a table's windows."""

    mean: float
    std: float


@dataclass(frozen=True)
class LabelsTable:
    """What is known of a labels table before its rows are read.

    Attributes:
        uri: the folder or prefix of its files.
        groups: those with labeled rows, by file name.
        targets: by name.
        scales: of the targets that are scalars, by name.
        sha256: of the labeled rows' contents and the recipe, whatever the order of the rows.
    """

    uri: str
    groups: tuple[RowGroup, ...]
    targets: dict[str, Target]
    scales: dict[str, Scale]
    sha256: str

    @property
    def n_rows(self) -> int:
        """Labeled rows."""
        return sum(group.n_rows for group in self.groups)

    @property
    def seconds(self) -> float:
        """Sound of the labeled rows."""
        return sum(group.seconds for group in self.groups)

    def has(self, name: str) -> bool:
        """Whether a target is called so, or a teacher that is several."""
        return any(name in (one.name, one.teacher) for one in self.targets.values())

    @property
    def group_sizes(self) -> np.ndarray:
        """Labeled rows of each group, int64 [G]."""
        return np.array([group.n_rows for group in self.groups], np.int64)


def open_labels_table(uri: str) -> LabelsTable:
    """Count the usable rows of a table that the labeling job has written.

    Args:
        uri: output of the labeling job, or its ``labels`` folder; a path or ``s3://`` prefix.

    Raises:
        UserError: there is no table, not one of ours, of two recipes or another version, or without labeled rows.
    """
    folder = absolute(uri)
    if exists(join(folder, "labels")):
        folder = join(folder, "labels")
    elif exists(join(folder, "plan")):
        raise UserError(f"{uri} has a plan but no labels yet: run label_corpus.py without --dry_run, to its end.")
    paths = [info.path for info in list_files(folder, ".parquet")]
    if not paths:
        raise UserError(f"{uri} has no Parquet files: give the --output of label_corpus.py.")
    fs, _ = filesystem(folder)
    with ThreadPoolExecutor(READERS) as threads:
        counted = list(threads.map(lambda path: _count(path, fs), paths))
    recipes = {one.recipe for one in counted}
    if recipes != {counted[0].recipe} or not counted[0].recipe:
        raise UserError(
            f"{uri} holds files {'of two labeling jobs' if len(recipes) > 1 else 'without a recipe'}. Give the output "
            "of one label_corpus.py job."
        )
    recipe = read_recipe(counted[0].recipe, uri)
    groups = tuple(group for one in counted for group in one.groups if group.n_rows)
    if not groups:
        n_rows = sum(one.n_rows for one in counted)
        raise UserError(
            f"{uri} has no labeled row among its {n_rows:,}: see the reasons in its run.json, and label videos "
            "of people who talk."
        )
    _warn_of_unfinished(folder, sum(one.n_rows for one in counted))
    content = sum(one.content for one in counted) % 2**256
    return LabelsTable(
        uri=folder,
        groups=groups,
        targets={one.name: one for one in map(Target.from_json, recipe["targets"])},
        scales={name: _scale([one.scalars[name] for one in counted]) for name in counted[0].scalars},
        sha256=hashlib.sha256(counted[0].recipe + content.to_bytes(32, "big")).hexdigest(),
    )


@cache
def _warn_of_unfinished(folder: str, n_rows: int) -> None:
    """Once for each table whose plan lies beside it and has another number of rows."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # it may be another's, or not for whoever reads the table
        n_planned = json.loads(read_bytes(join(posixpath.dirname(folder), "plan.json")))["spans"]
        if n_rows != n_planned:
            log.warning(
                "%s has %s of %s rows: its job has not come to its end, and what is learned goes by what is there.",
                *(folder, f"{n_rows:,}", f"{n_planned:,}"),
            )


def choose_target(
    table: LabelsTable,
    name: str,
    labeled: str,
    labels: Mapping[str, tuple[str, ...]],
    fold: Fold,
    trusted: Collection[str],
) -> Target:
    """The target that a student of this fold may learn from under a name.

    Args:
        table: of the targets.
        name: of a target; or of a teacher that is several, such as "speech" of speech_fold_0, speech_fold_1 ..., of
            which it is the one that was tuned on this fold of this set; for a student of all speakers, who is scored
            on nobody, the one that is best on speakers whom it has not heard.
        labeled, fold: of the student.
        labels: of its set, and of those that are joined in it, by name.
        trusted: names that may be of teachers which do not say whom they have heard.

    Raises:
        UserError: there is none, or more than one; that of the fold has other labels; it has heard speakers whom this
            student is scored on, does not say whom, or names nobody of the set.
    """
    target = table.targets.get(name) or _of_fold(table, name, labeled, fold)
    refuse_leak(target, labeled, fold.test | fold.validation)
    tuned, speakers = target.tuned_on, fold.train | fold.validation | fold.test
    # One by its own name may well have labels of its own, as a classifier of faces that was tuned on the set's videos.
    sets = (tuned.labeled, *set_names(tuned.labeled)) if tuned else ()
    of_set = next((one for one in sets if one in labels), labeled)
    said, own = ({one.lower() for one in names} for names in (target.labels, labels[of_set]))  # as teachers say them
    if name not in table.targets and target.kind == "distribution" and said != own:
        raise UserError(
            f"The teacher of {target.name} in {table.uri} knows the labels {', '.join(target.labels)}, but {of_set} "
            f"has {', '.join(labels[of_set])}. Label the videos with a teacher that was tuned on {of_set} as it is now."
        )
    spelled = {one.lower(): one for one in labels[labeled]}
    target = replace(target, labels=tuple(spelled.get(one.lower(), one) for one in target.labels))
    if tuned and tuned.shares_sets_with(labeled) and tuned.heard and not tuned.heard_of(labeled, speakers):
        raise UserError(
            f"The teacher of {target.name} in {table.uri} says that it has heard {', '.join(tuned.heard)} of "
            f"{tuned.labeled}, which has no such speakers, but {', '.join(sorted_speakers(speakers))}. Name them as it "
            "does."
        )
    if tuned is None and name not in trusted:
        raise UserError(
            f"The teacher of {target.name} in {table.uri} does not say whom it has heard; if that were speakers whom "
            f"the student is scored on, its score would be too high. Give --trusted {' '.join((*trusted, name))} if it "
            f"has heard nobody of {labeled}, or {_leave_out(name)}."
        )
    return target


def _leave_out(name: str) -> str:
    """How a target is left out, in words."""
    return f"leave it out with --loss.lambdas.{name} 0 (and --loss.embeddings.{name} 0 if its embedding teaches too)"


def _of_fold(table: LabelsTable, name: str, labeled: str, fold: Fold) -> Target:
    """The target of a teacher that is several which was tuned on this fold."""
    fitting = [one for one in table.targets.values() if one.teacher == name]
    if not fitting:
        raise UserError(
            f"{table.uri} has no target {name}: there are {', '.join(table.targets)}. Label with a teacher of this "
            f"name, or {_leave_out(name)}."
        )
    of_set = [one for one in fitting if one.tuned_on and one.tuned_on.shares_sets_with(labeled)]
    if fold.index == EVERYBODY and of_set:
        return max(of_set, key=lambda one: one.held_out.uar if one.held_out else 0.0)
    of_fold = [one for one in of_set if one.tuned_on and one.tuned_on.fold == fold.index]
    scored = {identity(labeled, speaker)[0] for speaker in fold.test | fold.validation}
    free = [one for one in of_set if one.tuned_on and scored.isdisjoint(set_names(one.tuned_on.labeled))]
    if free and not of_fold:  # of joined sets one may have fewer folds, and trains whole in the others
        return max(free, key=lambda one: one.held_out.uar if one.held_out else 0.0)
    if len(of_fold) != 1:
        found, names = (of_fold, "several targets") if of_fold else (fitting, "no target")
        raise UserError(
            f"{table.uri} has {names} by a teacher {name} of {labeled} fold {fold.index}"
            f"{': ' if of_fold else ', only '}{', '.join(one.name for one in found)}. Label again with one teacher "
            "for each fold, or have a recipe with the name of a target that may teach all folds."
        )
    return of_fold[0]


def refuse_two_teachers(of_unlabeled: Mapping[str, Target], of_labeled: Mapping[str, Target]) -> None:
    """Refuse targets of one name, and so of one head, that are not of the same teacher."""
    for name, one in of_labeled.items():
        if one.sha256 != of_unlabeled[name].sha256:
            raise UserError(
                f"The unlabeled recordings have {name} of another teacher ({of_unlabeled[name].name}) than the labeled "
                f"ones ({one.name}): label both with the same weights."
            )


def windows_of(rows: pa.Table, name: str, field: str = "values") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a target has of some rows: values [W, K], how many windows each row has, and `valid` float32 [W].

    Values are float32; of the field "embedding" they are the embeddings, float16 [W, D].
    """
    column = rows["targets"].combine_chunks().field(name)
    values, n_windows = flat_windows(column.field(field))
    return values, n_windows, column.field("valid").flatten().to_numpy(zero_copy_only=False)


def _scale(sums: list[np.ndarray]) -> Scale:
    """Of all files; a constant has the deviation 1."""
    n, total, squares = np.sum(sums, axis=0)
    mean = total / max(n, 1)
    return Scale(float(mean), math.sqrt(max(squares / max(n, 1) - mean**2, 0)) or 1.0)


def has_column(table: LabelsTable, name: str) -> bool:
    """Whether a table has a column that only some have, as those that its manifest gave it."""
    fs, _ = filesystem(table.uri)
    return name in pq.read_schema(table.groups[0].path, filesystem=fs).names


def read_rows(table: LabelsTable, group: RowGroup, columns: list[str], batch_rows: int) -> Iterator[pa.Table]:
    """The labeled rows of a group, a few at a time."""
    fs, _ = filesystem(table.uri)
    with pq.ParquetFile(group.path, filesystem=fs) as file:
        batches = file.iter_batches(batch_rows, row_groups=[group.number], columns=["status", *columns])
        for batch in batches:
            labeled = pa.Table.from_batches([batch]).filter(pc.field("status") == "labeled")
            if len(labeled):
                yield labeled


def read_groups(table: LabelsTable, columns: list[str]) -> Iterator[pa.Table]:
    """The labeled rows of each group in turn; groups are read ahead, at the same time."""

    def read(group: RowGroup) -> pa.Table:
        return pa.concat_tables(read_rows(table, group, columns, group.n_rows))

    with ThreadPoolExecutor(READERS) as threads:
        for _, future in in_order(lambda group: threads.submit(read, group), table.groups, 2 * READERS):
            yield future.result()


class _Counted(NamedTuple):
    """A file: its recipe, row groups, all rows, and the sum of its labeled rows' content hashes.

    And of each scalar, by name, how many windows have it, their sum, and the sum of their squares, float64 [3].
    """

    recipe: bytes
    groups: list[RowGroup]
    n_rows: int
    content: int
    scalars: dict[str, np.ndarray]


def _count(path: str, fs: pa.fs.FileSystem) -> _Counted:
    try:
        with pq.ParquetFile(path, filesystem=fs) as file:
            groups, content = [], 0
            recipe = (file.schema_arrow.metadata or {}).get(_RECIPE, b"")
            targets = json.loads(recipe or "{}").get("targets", ())
            scalars = {one["name"]: np.zeros(3) for one in targets if one["kind"] == "scalar"}
            columns = [*_COUNTED, *(f"targets.{name}.{part}" for name in scalars for part in ("values", "valid"))]
            for index in range(file.num_row_groups):
                rows = file.read_row_group(index, columns=columns).filter(pc.field("status") == "labeled")
                seconds = pc.sum(pc.subtract(rows["end_s"], rows["start_s"])).as_py() or 0.0
                groups.append(RowGroup(path, index, len(rows), seconds))
                content += sum(int(digits, 16) for digits in rows["content_hash"].to_pylist())
                for name in scalars:
                    values, _, valid = windows_of(rows, name)
                    known = values[valid > 0, 0].astype(np.float64)
                    scalars[name] += len(known), known.sum(), np.square(known).sum()
            return _Counted(recipe, groups, file.metadata.num_rows, content, scalars)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a file of a labels table: {error}. Give the --output of label_corpus.py."
        ) from error
