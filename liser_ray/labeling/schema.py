"""The labels table: its pinned Arrow schema, and rows that fit it."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from liser_ray.corpora.schema import SPAN_FIELDS, with_carried

SCHEMA_VERSION = 1

Labels = Sequence[str]

_END = pa.field("content_hash", pa.string(), nullable=False)


def softmax_list(n_labels: int) -> pa.DataType:
    """Type of one softmax per window: ``list<fixed_size_list<float32>[n_labels]>``."""
    return pa.list_(pa.list_(pa.float32(), n_labels))


def labels_schema(
    video_labels: Labels,
    speech_labels: Mapping[str, Labels],
    extra: pa.Schema | None = None,
    metadata: Mapping[str, str] | None = None,
) -> pa.Schema:
    """Schema of ``labels/*.parquet``, pinned for a run by the teachers' labels and the carried columns.

    Args:
        video_labels: the K_V label names of the video teacher, in order.
        speech_labels: speech teacher name to its K_S label names, in order.
        extra: columns of the manifest that are carried along.
        metadata: what every file says of itself (recipe, versions, label names).

    Raises:
        UserError: if a carried column has the name of one of ours.
    """
    speech = pa.struct([pa.field(name, softmax_list(len(labels))) for name, labels in speech_labels.items()])
    fields = [
        *SPAN_FIELDS,
        pa.field("audio", pa.binary(), nullable=False),
        pa.field("speech_fraction", pa.float32(), nullable=False),
        pa.field("video_start_s", pa.list_(pa.float32()), nullable=False),
        pa.field("speech_start_s", pa.list_(pa.float32()), nullable=False),
        pa.field("video_probs", softmax_list(len(video_labels)), nullable=False),
        pa.field("video_valid", pa.list_(pa.float32()), nullable=False),
        pa.field("speech_probs", speech, nullable=False),
        pa.field("face_box", pa.list_(pa.list_(pa.float32(), 4)), nullable=False),
        pa.field("other_faces", pa.float32(), nullable=False),
        _END,
    ]
    return with_carried(fields, extra).with_metadata(dict(metadata or {}))
