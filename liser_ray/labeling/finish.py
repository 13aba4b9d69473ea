"""The last step of the pipeline before rows are written. Imports no PyTorch: many short-lived workers run it."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from liser_ray.labeling.schema import Outcomes, set_columns
from liser_ray.media.outcome import Status


def finish(spans: pa.Table, columns: Sequence[str], count: Callable[[Outcomes, float], None]) -> pa.Table:
    """The columns that are written; what came through is marked as labeled, what did not is emptied.

    ``count`` gets rows by outcome and the seconds of recordings in them.
    """
    status = [one or Status.LABELED for one in spans["status"].to_pylist()]
    audio = [
        sound if end == Status.LABELED else b"" for end, sound in zip(status, spans["audio"].to_pylist(), strict=True)
    ]
    filled = {"status": pa.array(status, pa.string()), "audio": pa.array(audio, pa.binary())}
    spans = set_columns(spans, filled).select(columns).combine_chunks()
    seconds = np.asarray(spans["end_s"]) - np.asarray(spans["start_s"])
    count(dict(Counter(zip(status, spans["reason"].to_pylist(), strict=True))), float(seconds.sum()))
    return spans
