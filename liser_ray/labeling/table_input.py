"""A finished labels table as input: its rows go through teachers of sound again, and keep what they have."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.corpora.plan import load_plan_summary
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.progress import Work
from liser_ray.labeling.resume import OutputFolders, count_rows, whole_label_files
from liser_ray.labeling.schema import (
    ON_THE_WAY,
    RECIPE_KEY,
    SPEECH,
    TRANSCRIPT,
    empty_column,
    ended,
    list_column,
    read_recipe,
)
from liser_ray.media.flac import decode_flac
from liser_ray.media.outcome import Status, no_speech
from liser_ray.media.speech import speech_stretches
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.files import exists, filesystem
from liser_ray.teachers.targets import Target


def find_table(config: LabelConfig) -> OutputFolders | None:
    """The folders of the job whose output the input is, or None if it is recordings.

    A job may write beside its recordings: what is input and output is no table for itself.

    Raises:
        UserError: it is a table, of which pictures, more recordings or a measurement are asked for.
    """
    folders = OutputFolders(absolute(config.input))
    if folders.output == absolute(config.output) or not (exists(folders.run_card) and exists(folders.labels)):
        return None
    if config.extend or config.needs.clips or config.measure.seconds:
        raise UserError(
            f"{config.input} is a labels table: it has no pictures, gets no new recordings and can't be measured. Give "
            "teachers of sound, without --extend and --measure, or give the recordings (a list, if they lie in there)."
        )
    return folders


def carried_targets(table: OutputFolders) -> list[Target]:
    """The targets that a table has already.

    Raises:
        UserError: the table is of another version of this package, or its job has not come to its end.
    """
    plan, rows = load_plan_summary(table.output), count_rows(table)
    if plan is None or rows != plan.spans:
        raise UserError(
            f"{table.output} has {rows} of {plan.spans if plan else '?'} rows: let its job come to its end (the same "
            "command goes on), then give it as --input."
        )
    return [Target.from_json(one) for one in recipe_of(table)["targets"]]


def recipe_of(table: OutputFolders) -> dict[str, Any]:
    """The recipe of a table; UserError if it is of another version of this package."""
    fs, _ = filesystem(table.labels)
    metadata = pq.read_schema(whole_label_files(table)[0], filesystem=fs).metadata or {}
    return read_recipe(metadata.get(RECIPE_KEY.encode(), b""), table.output)


class ReopenRows:
    """Actor in the place of the media stage: labeled rows are open again, for further targets."""

    def __init__(self, schema: pa.Schema, count: Callable[[Work], None], least_speech: float):
        """The schema is of the new table; a share of the time, 0..1: with less of it that is speech a row ends."""
        self._schema, self._count, self._least_speech = schema, count, least_speech

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows of the new schema, with the columns that teachers read; those that were not labeled pass through."""
        started = time.monotonic()
        rows = rows.combine_chunks()
        status = rows["status"].to_pylist()
        labeled = [one == Status.LABELED for one in status]
        columns: dict[str, pa.Array] = {TRANSCRIPT.name: empty_column(TRANSCRIPT.type, len(rows))}
        columns |= {name: rows[name].combine_chunks() for name in rows.schema.names}
        columns["status"] = pa.array(["" if one == Status.LABELED else one for one in status], pa.string())
        old, kinds = columns["targets"], self._schema.field("targets").type
        known = {one.name: old.field(index) for index, one in enumerate(old.type)}
        columns["targets"] = pa.StructArray.from_arrays(
            [known[one.name] if one.name in known else empty_column(one.type, len(rows)) for one in kinds],
            fields=list(kinds),
        )
        stretches: list[np.ndarray] = [
            speech_stretches(decode_flac(sound)).ravel() if is_open else np.empty(0)
            for sound, is_open in zip(rows["audio"].to_pylist(), labeled, strict=True)
        ]
        for one in ON_THE_WAY:
            columns[one.name] = empty_column(one.type, len(rows))
        columns[SPEECH.name] = list_column(stretches, SPEECH.type)
        schema = pa.schema([*self._schema, *ON_THE_WAY], self._schema.metadata)
        silent = {
            row: no_speech(spoken)
            for row, spoken in enumerate(rows["speech_fraction"].to_pylist())
            if labeled[row] and spoken < self._least_speech
        }
        if n_open := sum(labeled):
            self._count(Work(n_open, len(silent), time.monotonic() - started))
        return ended(pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema), silent)
