"""The labels table as a student's source: its teachers, its usable rows, and whom a teacher has heard."""

import fnmatch
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.tuning import TeacherTuning, refuse_leak
from liser_ray.labeling.schema import RECIPE_KEY
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import exists, filesystem, list_files

_RECIPE = RECIPE_KEY.encode()
_READERS = 16  # threads: they wait for the store
_COUNTED = ["status", "start_s", "end_s", "content_hash"]


class RowGroup(NamedTuple):
    """A row group of a file: how many of its rows are labeled (the others are passed over), and seconds of sound."""

    path: str
    number: int
    n_rows: int
    seconds: float


@dataclass(frozen=True)
class TeacherColumn:
    """A speech teacher: its column in ``speech_probs``, the labels of its softmax, and on what it was tuned by us."""

    name: str
    labels: tuple[str, ...]
    tuning: TeacherTuning | None


@dataclass(frozen=True)
class LabelsTable:
    """What is known of a labels table before its rows are read.

    Attributes:
        uri: the folder or prefix of its files.
        groups: those with labeled rows, by file name.
        video_labels: in the order of the video teacher's softmax.
        speech_teachers: by name.
        sha256: of the labeled rows' contents and the recipe, whatever the order of the rows.
    """

    uri: str
    groups: tuple[RowGroup, ...]
    video_labels: tuple[str, ...]
    speech_teachers: dict[str, TeacherColumn]
    sha256: str

    @property
    def n_rows(self) -> int:
        """Labeled rows."""
        return sum(group.n_rows for group in self.groups)

    @property
    def seconds(self) -> float:
        """Sound of the labeled rows."""
        return sum(group.seconds for group in self.groups)

    @property
    def group_sizes(self) -> np.ndarray:
        """Labeled rows of each group, int64 [G]."""
        return np.array([group.n_rows for group in self.groups], np.int64)


def open_labels_table(uri: str) -> LabelsTable:
    """Count the usable rows of a table that the labeling job has written.

    Args:
        uri: output of the labeling job, or its ``labels`` folder; a path or ``s3://`` prefix.

    Raises:
        UserError: there is no table, not one of ours, of two recipes, or without labeled rows.
    """
    folder = absolute(uri)
    if exists(join(folder, "labels")):
        folder = join(folder, "labels")
    paths = [info.path for info in list_files(folder, ".parquet")]
    if not paths:
        raise UserError(f"{uri} has no Parquet files: give the --output of label_corpus.py as --unlabeled.")
    fs, _ = filesystem(folder)
    with ThreadPoolExecutor(_READERS) as threads:
        counted = list(threads.map(lambda path: _count(path, fs), paths))
    recipes = {one.recipe for one in counted}
    if recipes != {counted[0].recipe} or not counted[0].recipe:
        raise UserError(
            f"{uri} holds files {'of two labeling jobs' if len(recipes) > 1 else 'without a recipe'}. Give the output "
            "of one label_corpus.py job."
        )
    groups = tuple(group for one in counted for group in one.groups if group.n_rows)
    if not groups:
        n_rows = sum(one.n_rows for one in counted)
        raise UserError(
            f"{uri} has no labeled row among its {n_rows:,}: see the reasons in its run.json, and label videos "
            "of people who talk."
        )
    recipe = json.loads(counted[0].recipe)
    content = sum(one.content for one in counted) % 2**256
    return LabelsTable(
        uri=folder,
        groups=groups,
        video_labels=tuple(recipe["video_teacher"]["labels"]),
        speech_teachers={
            name: TeacherColumn(
                name, tuple(card["labels"]), TeacherTuning.from_json(card["tuning"]) if card.get("tuning") else None
            )
            for name, card in recipe["speech_teachers"].items()
        },
        sha256=hashlib.sha256(counted[0].recipe + content.to_bytes(32, "big")).hexdigest(),
    )


def choose_teacher(table: LabelsTable, wanted: str, labeled: str, labels: tuple[str, ...], fold: Fold) -> TeacherColumn:
    """The speech teacher that a student of this fold may learn from.

    Args:
        table: of the teachers.
        wanted: its name, or a pattern such as "hubert_fold_*" of which it is the one that was tuned on this fold of
            this set, or "" for the only one that was.
        labeled, labels, fold: of the student.

    Raises:
        UserError: there is none, or more than one; it has other labels; or it has heard speakers whom this student is
            scored on.
    """
    teacher = table.speech_teachers.get(wanted)
    if teacher is None:
        fitting = fnmatch.filter(table.speech_teachers, wanted or "*")
        if not fitting:
            names = ", ".join(table.speech_teachers)
            raise UserError(f"--speech_teacher {wanted}: the teachers of {table.uri} are {names}.")
        of_fold = [
            one
            for one in map(table.speech_teachers.__getitem__, fitting)
            if one.tuning and (one.tuning.labeled, one.tuning.fold) == (labeled, fold.index)
        ]
        if not of_fold:
            raise UserError(
                f"{table.uri} has no labels by a teacher of {labeled} fold {fold.index}, only by: "
                f"{', '.join(fitting)}. Label again with that fold's teacher, or name with --speech_teacher one that "
                "heard none of the fold's speakers."
            )
        if len(of_fold) > 1:
            raise UserError(
                f"{table.uri} has labels by several teachers of {labeled} fold {fold.index}: "
                f"{', '.join(one.name for one in of_fold)}. Choose with --speech_teacher, for all folds at once with a "
                "pattern such as 'hubert_fold_*'."
            )
        (teacher,) = of_fold
    if set(teacher.labels) != set(labels):
        raise UserError(
            f"The teacher {teacher.name} of {table.uri} knows the labels {', '.join(teacher.labels)}, but {labeled} "
            f"has {', '.join(labels)}. Label the videos with a teacher that was tuned on {labeled}."
        )
    if teacher.tuning:
        refuse_leak(teacher.tuning, labeled, fold.test | fold.validation)
    return teacher


def read_rows(table: LabelsTable, group: RowGroup, columns: list[str], batch_rows: int) -> Iterator[pa.Table]:
    """The labeled rows of a group, a few at a time."""
    fs, _ = filesystem(table.uri)
    with pq.ParquetFile(group.path, filesystem=fs) as file:
        batches = file.iter_batches(batch_rows, row_groups=[group.number], columns=["status", *columns])
        for batch in batches:
            labeled = pa.Table.from_batches([batch]).filter(pc.field("status") == "labeled")
            if len(labeled):
                yield labeled


class _Counted(NamedTuple):
    """A file: its recipe, row groups, all rows, and the sum of its labeled rows' content hashes."""

    recipe: bytes
    groups: list[RowGroup]
    n_rows: int
    content: int


def _count(path: str, fs: pa.fs.FileSystem) -> _Counted:
    try:
        with pq.ParquetFile(path, filesystem=fs) as file:
            groups, content = [], 0
            for index in range(file.num_row_groups):
                rows = file.read_row_group(index, columns=_COUNTED).filter(pc.field("status") == "labeled")
                seconds = pc.sum(pc.subtract(rows["end_s"], rows["start_s"])).as_py() or 0.0
                groups.append(RowGroup(path, index, len(rows), seconds))
                content += sum(int(digits, 16) for digits in rows["content_hash"].to_pylist())
            recipe = (file.schema_arrow.metadata or {}).get(_RECIPE, b"")
            return _Counted(recipe, groups, file.metadata.num_rows, content)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a file of a labels table: {error}. Give the --output of label_corpus.py."
        ) from error
