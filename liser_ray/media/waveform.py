"""The sound of one whole recording as 16-kHz mono PCM, block by block, or the words for why it can't be used."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np

from liser_ray.media.audio import MAX_DRIFT_S, SAMPLE_RATE_HZ, SILENCE_DB, SILENCE_PEAK, Resampler
from liser_ray.media.container import CUT_OFF, ByteSource, Tracks, guesses_length, is_cut_off
from liser_ray.media.joined import Part, files_in
from liser_ray.media.outcome import MediaError
from liser_ray.media.timeline import Timeline
from liser_ray.media.track_choice import open_tracks

log = logging.getLogger(__name__)

MIN_DURATION_S = 0.1

_MAX_GAP_S = 600.0
"""A longer gap is taken for a broken time stamp, and closed."""

_LFS_POINTER = b"version https://git-lfs"


class WaveformError(Exception):
    """A recording that can't be used: "unreadable", "empty", "shorter than 0.1 s", "silent" or "not finite"."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def decode_waveform(source: ByteSource) -> Iterator[np.ndarray]:
    """Decode the best sound track of a recording (its bytes, at their start) in any format, rate, number of channels.

    It comes as it is decoded, so that a long recording takes no more memory than a short one. Broken packets are
    skipped, unless less than half of the stated length is left.

    Yields:
        int16 [n], n > 0, 16 kHz, mono (as `Resampler` mixes it).

    Raises:
        WaveformError: see there; what is wrong with all of it ("silent") at its end.
    """
    n_samples = peak = 0
    with _errors_as_reasons():
        for block in _blocks(source):
            n_samples += len(block)
            peak = max(peak, int(block.max()), -int(block.min()))  # abs(-32768) overflows int16
            yield block
    check_audible(n_samples, peak)


def check_audible(n_samples: int, peak: float) -> None:
    """Refuse a recording without anything to hear: "empty", "shorter than 0.1 s" or "silent".

    It has so many samples at 16 kHz; its peak is the largest absolute value, where 32768 is full scale.
    """
    if n_samples == 0:
        raise WaveformError("empty", "no samples")
    if n_samples < MIN_DURATION_S * SAMPLE_RATE_HZ:
        raise WaveformError(f"shorter than {MIN_DURATION_S} s", f"{n_samples / SAMPLE_RATE_HZ:.3f} s")
    if peak <= SILENCE_PEAK * 32768:
        raise WaveformError("silent", f"no sample above {SILENCE_DB:.0f} dB of full scale")


def sound_start_s(source: ByteSource) -> float:
    """How long after the recording's start, which may be that of its pictures, its sound begins.

    Raises:
        WaveformError: "unreadable": no container of video or sound.
    """
    tracks = _open(source, pictures=True)
    with _errors_as_reasons(), tracks.container:
        start_s = Timeline(tracks).reach_s(tracks.audio)[0] if tracks.audio is not None else None
        return start_s or 0.0


def _blocks(source: ByteSource) -> Iterator[np.ndarray]:
    """The sound of the file, or of all that are joined in it, one after the other."""
    try:
        files = files_in(source)
    except MediaError as error:
        raise WaveformError("unreadable", error.detail) from error
    for first, end in files:
        part = Part(source, first, end)
        try:
            tracks = _open(part, pictures=False)
        except WaveformError:
            if not first:
                raise
            log.warning("%d bytes of a recording, joined to the rest, can't be opened: left out.", end - first)
        else:
            yield from _blocks_of(tracks, part)


def _blocks_of(tracks: Tracks, source: ByteSource) -> Iterator[np.ndarray]:
    """The sound as it is decoded, int16 [n], gaps as zeros; what comes in another format goes on behind it."""
    with tracks.container as container:
        if tracks.audio is None:
            raise WaveformError("unreadable", tracks.choice.lacks["audio"].words)
        packets, timeline = container.demux(tracks.audio), Timeline(tracks)
        resampler: Resampler | None = None
        n_samples = n_errors = n_gap = 0
        run_s = 0.0  # when what the resampler has began
        more = True
        while more:
            try:
                packet = next(packets, None)
            except Exception:  # the container ends in the middle of something
                n_errors += 1
                packet = None
            more = packet is not None
            blocks: list[np.ndarray] = []
            try:
                for frame in tracks.audio.codec_context.decode(packet):
                    if frame.samples == 0 or frame.sample_rate <= 0:
                        continue
                    _check_finite(frame)
                    time_s = timeline.time_s(frame.pts, tracks.audio)
                    run_end_s = run_s + resampler.duration_s if resampler is not None else None
                    gap_s = 0.0 if time_s is None or run_end_s is None else time_s - run_end_s
                    is_gap = MAX_DRIFT_S < gap_s <= _MAX_GAP_S
                    if resampler is None or not resampler.takes(frame) or is_gap:
                        blocks += resampler.finish() if resampler is not None else []
                        if is_gap:  # as a labeling job hears it
                            blocks.append(np.zeros(round(gap_s * SAMPLE_RATE_HZ), np.int16))
                            n_gap += len(blocks[-1])  # a broken packet leaves one too
                        run_s = time_s if time_s is not None else run_end_s or 0.0
                        resampler = Resampler(frame)
                    blocks += resampler.add(frame)
            except av.EOFError:
                pass
            except WaveformError:
                raise
            except Exception:
                n_errors += 1
            if not more and resampler is not None:
                blocks += resampler.finish()
            for block in blocks:
                n_samples += len(block)
                yield block
        stated_s = timeline.stated_duration_s() if n_errors and not guesses_length(container, source) else None
    kept_s = (n_samples - n_gap) / SAMPLE_RATE_HZ
    if n_errors and (n_samples == n_gap or (stated_s is not None and kept_s < stated_s / 2)):
        of = f" of {stated_s:.2f}" if stated_s is not None else ""
        raise WaveformError("unreadable", f"only {kept_s:.2f}{of} s can be decoded")


def _check_finite(frame: av.AudioFrame) -> None:
    """Before the conversion to integers, which makes some number of what is none."""
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise WaveformError("not finite", "NaN or infinite samples")


def _open(source: ByteSource, pictures: bool) -> Tracks:
    try:
        return open_tracks(source, pictures=pictures)
    except Exception as error:
        source.seek(0)
        if source.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise WaveformError(
                "unreadable", "a Git LFS pointer in place of the recording; run git lfs pull"
            ) from error
        if is_cut_off(source):
            raise WaveformError("unreadable", CUT_OFF) from error
        raise WaveformError("unreadable", f"no container of video or sound ({_words(error)})") from error


@contextmanager
def _errors_as_reasons() -> Iterator[None]:
    """Whatever else goes wrong while a file is decoded is the file's fault, and costs no other."""
    try:
        yield
    except WaveformError:
        raise
    except Exception as error:
        raise WaveformError("unreadable", f"can't be decoded ({_words(error)})") from error


def _words(error: Exception) -> str:
    """FFmpeg's number says nothing to anybody."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
