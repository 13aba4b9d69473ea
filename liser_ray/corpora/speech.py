"""Labeled speech in memory: every recording of a labeled set, decoded once, in a few large arrays."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.segments import WHOLE, Segment
from liser_ray.corpora.utterance import LabeledSet, Part, Utterance, only_part
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.source import sound_source
from liser_ray.media.waveform import WaveformError, check_audible, decode_waveform
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError

log = logging.getLogger(__name__)

_WORKERS = 8  # more than cores on small machines: a thread also waits for the disk or the store
_IN_FLIGHT_PER_WORKER = 8
_NO_SAMPLES = np.zeros(0, np.int16)

LabeledBy = Literal["recording", "speaker"]
"""Whether a share of the labels is one of each label's recordings, or all recordings of a share of the speakers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabeledRecordings:
    """The N usable recordings of a labeled set, in its order: what is known of them without their sound."""

    name: str
    labels: tuple[str, ...]  # in the order of the network's outputs; each has recordings
    label_index: np.ndarray  # int64 [N], indices into `labels`
    speakers: tuple[str, ...]  # of each recording
    sexes: dict[str, str]  # of each speaker, "man" or "woman", where it is known
    skipped: dict[str, int]  # how many files or recordings were passed over, by the reason in words
    joined: tuple[Part, ...] = ()  # the sets that it is joined of; none: it is one

    def __len__(self) -> int:
        return len(self.label_index)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sets that it is joined of, or itself."""
        return self.joined or (only_part(self.name, self.labels),)

    @property
    def part_index(self) -> np.ndarray:
        """Which of the `parts` each recording is of, int64 [N]."""
        prefixes = [part.prefix for part in self.parts]
        found = (next(k for k, one in enumerate(prefixes) if name.startswith(one)) for name in self.speakers)
        return np.fromiter(found, np.int64, len(self))

    @property
    def labels_of_parts(self) -> np.ndarray:
        """Which of the labels each of the `parts` has, bool [parts, K]."""
        return np.array([np.isin(np.arange(len(self.labels)), part.places) for part in self.parts])

    @property
    def sha256(self) -> str:
        """Of all that there is to learn from: what is heard or read, by whom, with which label."""
        return self._digest(b"")

    def _digest(self, content: bytes | memoryview, *indices: np.ndarray) -> str:
        digest = hashlib.sha256(content)
        digest.update(json.dumps([self.labels, self.speakers]).encode())
        digest.update(np.stack([*indices, self.label_index]).tobytes())
        return digest.hexdigest()

    def of_speakers(self, speakers: Collection[str]) -> np.ndarray:
        """Indices of the recordings of these speakers, int64, ascending."""
        wanted = frozenset(speakers)
        return np.array([k for k, speaker in enumerate(self.speakers) if speaker in wanted], np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabeledSpeech(LabeledRecordings):
    """Labeled recordings with their sound; arrays without copies of one another."""

    pcm: np.ndarray  # int16 [total samples], 16 kHz, mono, all recordings one after the other
    ends: np.ndarray  # int64 [N], where each recording ends in `pcm`, in samples
    uris: tuple[str, ...]  # of each recording's file
    segments: tuple[Segment, ...]  # of each recording, where in its file it is
    problems: tuple[tuple[str, str], ...]  # (which, reason with details) of each listed recording that is not used
    votes: np.ndarray | None = None  # float32 [N, K], raters for each label; zeros: nobody was asked; None: of none
    attributes: dict[str, np.ndarray] = field(default_factory=dict)  # by name float32 [N], NaN where it is not known

    @property
    def sha256(self) -> str:
        """See there; of the sound."""
        return self._digest(self.pcm.data, self.ends)

    def waveform(self, index: int) -> np.ndarray:
        """The sound of one recording, int16 [samples], 16 kHz; a view. Raises IndexError from N on and below 0."""
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        return self.pcm[self.ends[index - 1] if index else 0 : self.ends[index]]

    def vote_shares(self, equal: bool = False) -> np.ndarray:
        """Share of the raters for each label, float32 [N, K], rows sum to 1; where nobody was asked, the label's.

        Or, as shares that are ``equal``, of all labels that 1/K of the raters and more chose, of the K of its set.
        """
        shares = np.eye(len(self.labels), dtype=np.float32)[self.label_index]
        if self.votes is not None:
            asked = self.votes.any(axis=1)
            shares[asked] = self.votes[asked] / self.votes[asked].sum(axis=1, keepdims=True)
        if not equal:
            return shares
        n_labels = self.labels_of_parts.sum(axis=1)[self.part_index]
        often = shares >= 1 / n_labels[:, None] - 1e-6
        return often / often.sum(axis=1, keepdims=True, dtype=np.float32)


def training_recordings(
    recordings: LabeledRecordings, fold: Fold, fraction: float = 1.0, by: LabeledBy = "recording"
) -> np.ndarray:
    """The recordings whose labels may be learned, of each set the same share, int64 [n], ascending.

    The draw is the fold's and the set's alone: the same for a student, whatever its seed, as for its teacher, and for
    one of several sets as for one of this set. Those of a smaller share are among those of a larger one.

    Args:
        recordings, fold: of all recordings those of the fold's training speakers.
        fraction: of each label's recordings, or of the speakers, above 0, up to 1; at least one.
        by: which of the two.

    Raises:
        UserError: a label that a set has has none there.
    """
    chosen = []
    for part in recordings.parts:
        speakers = sorted(part.own_names(fold.train))
        rng = np.random.default_rng(fold.index % 2**32)
        if by == "speaker":
            speakers = rng.permutation(speakers)[: max(1, round(fraction * len(speakers)))].tolist()
        candidates = recordings.of_speakers(speakers)
        of_labels = [candidates[recordings.label_index[candidates] == place] for place in part.places]
        if missing := [name for name, of in zip(part.labels, of_labels, strict=True) if not len(of)]:
            raise UserError(
                f"{part.name}, fold {fold.index}: no training recording has the label {', '.join(missing)}. More "
                "speakers or fewer labels are needed."
            )
        share = 1.0 if by == "speaker" else fraction
        chosen += [rng.permutation(of)[: max(1, round(share * len(of)))] for of in of_labels]
    return np.sort(np.concatenate(chosen))


def load_labeled_speech(labeled: LabeledSet) -> LabeledSpeech:
    """Decode every recording of a set.

    Recordings that can't be used are skipped and listed: "unreadable" (missing ones as well, and segments that do not
    lie in their file), "empty", "shorter than 0.1 s", "silent" (peak at most -80 dB of full scale), "not finite" (NaN
    or infinite samples). Of recordings with the same samples, label and speaker the first is kept, the others are
    "duplicate"; if label or speaker differ, none is kept: "contradicting duplicates".

    Raises:
        UserError: if more than half of the recordings are unreadable, or a label has none left.
    """
    decoded = list(_decode_all(labeled))
    unusable = _duplicates(labeled.utterances, [one.digest for one in decoded])
    unusable |= {k: one.problem for k, one in enumerate(decoded) if one.problem is not None}
    kept = [k for k in range(len(decoded)) if k not in unusable]
    _check_left(labeled, kept, unusable)

    ends = np.cumsum([len(decoded[k].pcm) for k in kept], dtype=np.int64)
    pcm = np.empty(ends[-1], np.int16)
    for end, k in zip(ends, kept, strict=True):
        pcm[end - len(decoded[k].pcm) : end] = decoded[k].pcm
        decoded[k] = _Decoded()  # so that the sound is never there twice
    utterances = [labeled.utterances[k] for k in kept]
    speech = LabeledSpeech(
        name=labeled.name,
        labels=labeled.labels,
        pcm=pcm,
        ends=ends,
        label_index=np.array([labeled.labels.index(one.label) for one in utterances], np.int64),
        speakers=tuple(one.speaker for one in utterances),
        sexes={one.speaker: one.sex for one in utterances if one.sex},
        uris=tuple(one.uri for one in utterances),
        segments=tuple(one.segment for one in utterances),
        skipped=dict(Counter(labeled.skipped) + Counter(problem.reason for problem in unusable.values())),
        problems=tuple((str(labeled.utterances[k]), str(unusable[k])) for k in sorted(unusable)),
        joined=tuple(part for _, part in labeled.joined),
        votes=_votes(utterances, labeled.labels),
        attributes=_attributes(utterances),
    )
    log.info(
        "%s: %s recordings of %d speakers, %.2f h; skipped: %s",
        speech.name,
        f"{len(speech):,}",
        len(set(speech.speakers)),
        len(speech.pcm) / SAMPLE_RATE_HZ / 3600,
        ", ".join(f"{count:,} {reason}" for reason, count in sorted(speech.skipped.items())) or "none",
    )
    if unreadable := [k for k, problem in unusable.items() if problem.reason == "unreadable"]:
        first = min(unreadable)
        log.info("The first of the unreadable ones: %s: %s", labeled.utterances[first], unusable[first])
    return speech


def _votes(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray | None:
    if not any(one.votes for one in utterances):
        return None
    votes = np.zeros((len(utterances), len(labels)), np.float32)
    for row, one in zip(votes, utterances, strict=True):
        for label, number in one.votes:
            row[labels.index(label)] = number
    return votes


def _attributes(utterances: Sequence[Utterance]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for k, one in enumerate(utterances):
        for name, value in one.attributes:
            found.setdefault(name, np.full(len(utterances), np.nan, np.float32))[k] = value
    return found


def read_waveform(uri: str, segment: Segment = WHOLE) -> np.ndarray:
    """Decode the best sound track of a recording, local or on S3, in any format, rate and number of channels.

    Args:
        uri: of its file.
        segment: the part of it that is the recording; nothing far outside is read.

    Returns:
        int16 [samples], 16 kHz, mono (the mean of the channels).

    Raises:
        WaveformError: see there.
    """
    if segment != WHOLE:
        return _read_segment(uri, segment)
    with sound_source(uri) as source:
        return np.concatenate(list(decode_waveform(source)))


def _read_segment(uri: str, segment: Segment) -> np.ndarray:
    """As the labeling job decodes it, so that the two are alike to the sample."""
    try:
        with Reader(uri) as reader:
            file_s = reader.header.duration_s
            if file_s is None and (file_s := reader.measure_duration_s()) is None:
                raise MediaError(Reason.NO_DURATION, "the header does not tell the length, and the file is too large")
            start_s, end_s = segment.within(file_s)
            pcm = reader.span(start_s, end_s).pcm()
    except MediaError as error:
        raise WaveformError("empty" if error.reason is Reason.EMPTY else "unreadable", error.detail) from error
    except Exception as error:  # the file's fault, and no other's
        raise WaveformError("unreadable", f"can't be decoded ({error})") from error
    check_audible(len(pcm), float(np.abs(pcm.astype(np.int32)).max(initial=0)))
    return pcm


class _Unusable(NamedTuple):
    """Why a recording is not used; unlike an exception, it keeps no buffers alive."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class _Decoded(NamedTuple):
    """A recording's sound and what tells it from others; or the problem with it."""

    pcm: np.ndarray = _NO_SAMPLES
    digest: bytes = b""
    problem: _Unusable | None = None


def _decode(utterance: Utterance) -> _Decoded:
    try:
        pcm = read_waveform(utterance.uri, utterance.segment)
    except WaveformError as error:
        return _Decoded(problem=_Unusable(error.reason, error.detail))
    return _Decoded(pcm, hashlib.blake2b(pcm.data, digest_size=16).digest())


def _decode_all(labeled: LabeledSet) -> Iterator[_Decoded]:
    counting = Counting("recordings decoded", len(labeled.utterances), text=labeled.name)
    with ThreadPoolExecutor(_WORKERS) as threads, counting:
        in_flight = _WORKERS * _IN_FLIGHT_PER_WORKER
        for _, future in in_order(lambda one: threads.submit(_decode, one), labeled.utterances, in_flight):
            yield future.result()
            counting.advance()


def _duplicates(utterances: tuple[Utterance, ...], digests: list[bytes]) -> dict[int, _Unusable]:
    """The recordings to drop because others have the same samples; a digest b"" stands for no samples."""
    same: dict[bytes, list[int]] = {}
    for k, digest in enumerate(digests):
        if digest:
            same.setdefault(digest, []).append(k)
    dropped: dict[int, _Unusable] = {}
    for group in same.values():
        meanings = {(utterances[k].label, utterances[k].speaker) for k in group}
        first = utterances[group[0]]
        if len(meanings) == 1:
            dropped |= {k: _Unusable("duplicate", f"the same sound as {first}") for k in group[1:]}
            continue
        said = " and ".join(f"{label} of speaker {speaker}" for label, speaker in sorted(meanings))
        dropped |= {k: _Unusable("contradicting duplicates", f"the same sound is {said}") for k in group}
    return dropped


def _check_left(labeled: LabeledSet, kept: list[int], unusable: dict[int, _Unusable]) -> None:
    """Raise if what is left is no set to train on."""
    total = len(labeled.utterances)

    def first_of(indices: Iterable[int]) -> str:
        k = min(indices)
        return f"The first: {labeled.utterances[k]}: {unusable[k]}."

    unreadable = [k for k, problem in unusable.items() if problem.reason == "unreadable"]
    if len(unreadable) > total / 2:
        raise UserError(
            f"{labeled.name}: {len(unreadable)} of {total} recordings can't be read. {first_of(unreadable)} "
            "Check that the set is complete and whole."
        )
    left = {*kept}
    for part in labeled.parts:
        for label, place in zip(part.labels, part.places, strict=True):
            as_listed = labeled.labels[place]
            listed = [
                k
                for k, one in enumerate(labeled.utterances)
                if one.label == as_listed and one.speaker.startswith(part.prefix)
            ]
            if not listed:
                raise UserError(
                    f"{part.name}: there is no recording of the label {label!r}. Get the whole set, or list what "
                    "there is in a manifest."
                )
            if not left.intersection(listed):
                raise UserError(
                    f"{part.name}: none of the {len(listed)} recordings of the label {label!r} can be used. "
                    f"{first_of(listed)} Mend them, or list the others in a manifest."
                )
