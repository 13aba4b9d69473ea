"""The Ray Data pipeline: plan rows in, labels rows out, one for one."""

import json
import logging
import warnings
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.checkpoint import CheckpointConfig
from ray.util.annotations import RayDeprecationWarning

from liser_ray.corpora.recordings import input_roots
from liser_ray.labeling.config import LabelConfig, PoolConfig, Pools
from liser_ray.labeling.finish import finish
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.progress import JobCounts
from liser_ray.labeling.resume import ID_COLUMN, OutputFolders, whole_label_files
from liser_ray.labeling.schema import RECIPE_KEY
from liser_ray.labeling.table_input import ReopenRows, find_table, recipe_of
from liser_ray.labeling.teacher_stage import TeacherStage
from liser_ray.labeling.transcript_stage import TranscriptStage
from liser_ray.media.outcome import Stage
from liser_ray.runtime.cluster import hush_restarts
from liser_ray.storage.addresses import is_s3
from liser_ray.storage.files import filesystem
from liser_ray.storage.retries import TRANSIENT_ERRORS

_TASK_CPUS = 0.1  # reading and writing wait for the store


def label_spans(
    config: LabelConfig, folders: OutputFolders, schema: pa.Schema, pools: Pools, counts: JobCounts
) -> Dataset:
    """The labels rows, of this schema, of a part of the plan, when somebody takes them; counts are reported to."""
    roots = input_roots(config.input, config.media_folder, config.plan.allowed_roots)
    table = find_table(config)
    fs, read = (
        (filesystem(table.labels)[0], whole_label_files(table.of_part(folders.part)))
        if table
        else filesystem(folders.plan)
    )
    context = DataContext.get_current()
    context.retried_io_errors = [TRANSIENT_ERRORS]
    # The newer Parquet reader starts 32 processes to read the footers of a few small files (Ray 2.60).
    context.use_datasource_v2 = False
    context.enable_progress_bars = False  # ours counts spans and outcomes, and works in a submitted job
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)  # what it logs is raised here as well
    # Ray 2.60 deprecates keywords such as max_restarts and has no other way to give them yet.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    hush_restarts()

    spans = ray.data.read_parquet(read, filesystem=fs, num_cpus=_TASK_CPUS)
    # A few files would make a few blocks, each one task from end to end.
    spans = spans.repartition(target_num_rows_per_block=pools.media.batch_spans)
    count_media = partial(counts.add_work, str(Stage.MEDIA))
    least_speech = config.media.min_speech_fraction if config.needs.speech else 0.0
    spans = spans.map_batches(
        ReopenRows if table else MediaStage,
        fn_constructor_args=(
            schema,
            count_media,
            *((least_speech,) if table else (config.media, config.needs, roots, config.plan.max_pixels)),
        ),
        **_pool_arguments(pools.media),
    )
    in_table = (schema.metadata or {}).get(RECIPE_KEY.encode())
    recipe = json.loads(in_table) if in_table else None  # none is measured
    if recipe and table:  # what it has already is nobody's here
        carried = {one["name"] for one in recipe_of(table)["targets"]}
        recipe["targets"] = [one for one in recipe["targets"] if one["name"] not in carried]
    needs_text = any(one.takes == "text" and one.name in config.required for one in config.entries)
    for name, entries in config.teacher_groups.items():
        pool = pools.teachers[name]
        is_last = (name,) == config.clips_pools[-1:]
        count = partial(counts.add_work, name)
        stage: type = TranscriptStage
        arguments: tuple[Any, ...] = (config.transcribe, config.precision, needs_text, recipe)
        if entries:
            stage, arguments = stage_of_pool(name), (entries, config.required, config.precision, is_last, recipe)
        spans = spans.map_batches(
            stage, fn_constructor_args=(*arguments, count, pool.num_gpus > 0), **_pool_arguments(pool)
        )
    finishing = partial(finish, columns=schema.names, count=counts.add_rows)
    return spans.map_batches(finishing, batch_size=None, batch_format="pyarrow", num_cpus=_TASK_CPUS)


def stage_of_pool(name: str) -> type[TeacherStage]:
    """The stage under a name of its own: Ray calls its actors and progress after the class."""
    return type(f"{TeacherStage.__name__}_{name}", (TeacherStage,), {})


def run_pipeline(
    config: LabelConfig, folders: OutputFolders, schema: pa.Schema, pools: Pools, rows_per_file: int, counts: JobCounts
) -> None:
    """Label every span of a part of the plan that is not in its checkpoint, and write the rows.

    The plan is read from files since only then Ray Data filters by its checkpoint; no operator turns a row into several
    or none, since an id is committed with the first block that holds it.
    """
    fs, labels_path = filesystem(folders.labels)
    _, checkpoint_path = filesystem(folders.checkpoint)
    if not is_s3(folders.output):
        fs.create_dir(labels_path, recursive=True)
        fs.create_dir(checkpoint_path, recursive=True)
    context = DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        ID_COLUMN,
        checkpoint_path,
        override_filesystem=fs,
        delete_checkpoint_on_success=False,  # or a finished job that is started again would double its rows
    )
    try:
        label_spans(config, folders, schema, pools, counts).write_parquet(
            labels_path,
            filesystem=fs,
            min_rows_per_file=rows_per_file,
            ray_remote_args={"num_cpus": _TASK_CPUS},
            schema=schema,
            compression="zstd",
        )
    finally:
        context.checkpoint_config = None


def _pool_arguments(pool: PoolConfig) -> dict[str, Any]:
    return {
        "batch_size": pool.batch_spans,
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(size=pool.actors),
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        # What is wrong with a row becomes a row. These are for an actor whose machine goes away. The restarts are the
        # bound: by default Ray would restart without end one that crashes at each start. Retries can be none, since
        # until a lost machine is known to be lost each call to its actors is tried and fails at once.
        "max_restarts": 16,
        "max_task_retries": -1,
    }
