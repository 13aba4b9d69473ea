"""The sound of one whole recording in memory, from wherever it lies."""

import numpy as np

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.source import Source
from liser_ray.media.waveform import WaveformError, decode_waveform


def read_waveform(uri: str) -> np.ndarray:
    """Decode the best sound track of a recording, local or on S3, in any format, rate and number of channels.

    Returns:
        int16 [samples], 16 kHz, mono (the mean of the channels).

    Raises:
        WaveformError: see there.
    """
    try:
        source = Source(uri)
    except MediaError as error:
        if error.reason is Reason.EMPTY:
            raise WaveformError("empty", "0 bytes") from error
        raise WaveformError("unreadable", error.detail) from error
    try:
        try:
            return np.concatenate(list(decode_waveform(source)))
        finally:
            source.check()  # demuxers take a failed read for the end of the file
    except MediaError as error:
        raise WaveformError("unreadable", error.detail) from error
    finally:
        source.release()
