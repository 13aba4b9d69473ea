"""What the planner's child processes do: read headers. Apart from the planner, so that they import little."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Header, Reader
from liser_ray.media.track_choice import ANY, Wanted


def read_headers(uris: list[str], roots: tuple[str, ...] = (), wanted: Wanted = ANY) -> list[Header | MediaError]:
    """The header of each recording, read at the same time, or what was wrong with it. Runs in a child process."""
    with ThreadPoolExecutor(len(uris)) as threads:
        return list(threads.map(lambda uri: _read_header(uri, roots, wanted), uris))


def _read_header(uri: str, roots: tuple[str, ...], wanted: Wanted) -> Header | MediaError:
    try:
        with Reader(uri, roots=roots, wanted=wanted) as reader:
            header = reader.header
            if header.duration_s is None:
                header = dataclasses.replace(header, duration_s=reader.measure_duration_s())
            return header
    except MediaError as error:
        return error
    except MemoryError:  # the call as a whole is near its limit: it is done again one by one
        raise
    except Exception as error:  # nothing of one recording may cost the others of the call
        return MediaError(Reason.CRASH, f"{type(error).__name__}: {error}")
