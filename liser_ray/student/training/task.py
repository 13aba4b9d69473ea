"""What a student learns: segments of labeled and unlabeled recordings, step by step, and its loss on them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.student import augment
from liser_ray.student.attributes import concordance_loss
from liser_ray.student.chunks import chunk_frames, reach_frames
from liser_ray.student.clusters import begin_anew, cluster, encoded
from liser_ray.student.config import CLUSTERS, LossConfig, Normalisation
from liser_ray.student.data.alignment import aligned
from liser_ray.student.data.embeddings import Reduction
from liser_ray.student.data.mels import LogMels, SegmentCutter, pieces_of, segment_starts
from liser_ray.student.data.order import EpochPlan, cluster_seed, labeled_crops, step_rng
from liser_ray.student.data.unlabeled import HeldSegments, Segments, TargetWindows
from liser_ray.student.features import BandNormalisation, BandStatistics, in_chunks, recording_statistics
from liser_ray.student.front_end import N_BANDS, SEGMENT_FRAMES, SEGMENT_S, STRIDE_SAMPLES
from liser_ray.student.losses import SegmentTarget, SetLabels, Targets, joined, loss_terms
from liser_ray.student.network import StudentLogits, StudentNetwork
from liser_ray.student.penalty import confusion_costs
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.teachers.targets import Target, target_of
from liser_ray.training.fit import Losses, ProcessGroup, Step, label_weights, same_for_all, validation_scores
from liser_ray.training.precision import Precision, widened

_N_HEARD = 512


class UnlabeledSegments(Protocol):
    """Where unlabeled segments come from: `HeldSegments` or `StreamedSegments`."""

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next ``n`` segments, of these only a ``share``."""


@dataclass(frozen=True)
class Unlabeled:
    """Unlabeled recordings to learn from.

    Attributes:
        n_rows: how many there are.
        start: gives their segments, from after so many rows on: of all processes together, and those of this one.
        alignments: factors of what teachers say of them, float32 [K] on the device, by the targets' names.
    """

    n_rows: int
    start: Callable[[int, int], UnlabeledSegments]
    alignments: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Labeled:
    """Labeled recordings to learn from.

    Attributes:
        mels: spectrograms of the whole set; where it is heard in S ways, S times N of them (`at_speeds`, `elsewhere`).
        speech: the whole set, N recordings.
        train: int64 [n], recordings to learn from.
        targets: that the student learns from, by the names of the loss's terms.
        windows: what the teachers of all of these say of the N recordings, by name; empty: they are not asked.
        attributes: that the student learns, float32 [N, A] in the order of the loss's, over the training recordings
            with mean 0 and deviation 1; NaN where one is not known.
    """

    mels: LogMels
    speech: LabeledSpeech
    train: np.ndarray
    targets: Mapping[str, Target] = field(default_factory=dict)
    windows: Mapping[str, TargetWindows] = field(default_factory=dict)
    attributes: np.ndarray | None = None


class Batch(NamedTuple):
    """What a process learns from in a step: inputs float32 [n, 64, F], labeled ones first, and their targets.

    F is 94, or with N chunks, which lie there one after the other, N · 32.
    """

    inputs: Tensor
    targets: Targets


class _Heard(NamedTuple):
    """Segments as they are heard.

    Attributes:
        log_mel: float32 [n, 64, F].
        first_frames: where each begins in its recording, int64 [n].
        seconds: how much of the recording is in it, float [n].
    """

    log_mel: Tensor
    first_frames: np.ndarray
    seconds: np.ndarray


def epoch_plans(config: TrainConfig, n_labeled: int, n_unlabeled: int) -> list[EpochPlan]:
    """How the recordings make the batches of an epoch, in each stage; the first of two has no labels."""
    sizes = [(0, n_unlabeled), (n_labeled, 0)] if config.two_stage else [(n_labeled, n_unlabeled)]
    return [EpochPlan(*both, config.batch_size, config.labeled_per_batch, config.epoch_steps) for both in sizes]


class StudentTask:
    """A student's `Task`; its batches depend on the seed alone, whatever the network.

    Args:
        model: the network, on the group's device.
        labeled, unlabeled: what is learned from; None: labels alone.
        validation: recordings that pick the epoch; may be empty.
        config, loss: of the training, and of the recipe.
        seed: of order, crops and masks.
        group: the processes that share each batch.
        normalisation: of the network.
        reductions: of the embeddings that are learned, by the names of their terms.
    """

    def __init__(
        self,
        model: StudentNetwork,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        validation: EvaluationSet,
        config: TrainConfig,
        loss: LossConfig,
        seed: int,
        group: ProcessGroup,
        normalisation: Normalisation = "none",
        reductions: Mapping[str, Reduction] | None = None,
    ):
        self.model, self.labeled, self.validation = model, labeled, validation
        self._unlabeled, self._config, self._loss = unlabeled, config, loss
        self._seed, self._group = seed, group
        self._reductions = reductions or {}
        self._chunks = model.classifier.n_chunks  # a labeled recording is then heard whole, or what they cover
        self._teachers = labeled.targets
        self.plans = epoch_plans(config, len(labeled.train), unlabeled.n_rows if unlabeled else 0)
        self._cut = SegmentCutter(labeled.mels, group.device)
        self._segments: UnlabeledSegments | None = None
        self._of_speech = BandNormalisation("speech") if normalisation == "speech" else None
        self._clusters: tuple[np.ndarray, np.ndarray] | None = None
        self._bounds: np.ndarray | None = None
        if config.augment.pieces or config.augment.babble:
            self._bounds = augment.speech_bounds(labeled.mels.frames, labeled.mels.ends)
        self._part_index = labeled.speech.part_index
        speech, by_label = labeled.speech, config.truth == "label"
        self._truth = speech.label_index if by_label else speech.vote_shares(config.truth == "several")
        self._sets = [SetLabels(*(one.to(group.device) for one in of)) for of in self._labels_of_sets()]

    def plan(self, epoch: int) -> EpochPlan:
        """How the recordings make the batches of an epoch, from 1 on."""
        return self.plans[(epoch - 1) // self._config.epochs]

    def n_steps(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return self.plan(epoch).n_steps

    def steps(self, epoch: int) -> Iterator[Step]:
        """This process's part of the batches of an epoch; epochs follow one another."""
        plan = self.plan(epoch)
        if plan.n_unlabeled and self._segments is None:
            assert self._unlabeled is not None
            self._segments = self._unlabeled.start(*self._drawn_before(epoch))
        if self._loss.clusters:
            self._clusters = same_for_all(self._cluster(epoch), self._group.world_size)
            begin_anew(self.model.heads[f"{CLUSTERS}_head"], cluster_seed(self._seed, epoch))
        for step in plan.steps(self._seed, epoch):
            rows = self.labeled.train[step.labeled]
            rows = rows[np.argsort(self._part_index[rows], kind="stable")]  # set by set
            places = labeled_crops(len(self.labeled.speech), self._seed, step.lap)[rows]
            rng = step_rng(self._seed, step.lap, step.number, self._group.rank)
            yield Step([self._batch(rows, places, step.n_unlabeled, rng)], len(rows) + step.n_unlabeled)
        is_last = epoch == self._config.epochs * len(self.plans)
        if is_last or not self.plan(epoch + 1).n_unlabeled:
            self._segments = None  # ends what streams them

    def losses(self, forward: Callable[[Tensor], StudentLogits], part: Batch) -> Losses:
        """The terms of equation (4) or (5), and of the segments that have targets the share without one."""
        logits = forward(part.inputs)
        wide = StudentLogits(widened(logits.supervised), {name: widened(one) for name, one in logits.teachers.items()})
        terms = loss_terms(wide, part.targets, self._loss, self._teachers, self._sets)
        by_target = {target_of(name): target for name, target in part.targets.by_name.items()}
        missing = {f"without_{name}": ~target.valid for name, target in by_target.items()}
        return Losses(terms, {name: (one.sum(), len(one)) for name, one in missing.items()})

    def validate(self, model: Any, precision: Precision) -> tuple[float, float | None] | None:  # noqa: ANN401
        """Mean cross-entropy and UAR of the supervised head; of several sets the mean over the sets.

        1 - CCC of each attribute, times its weight, is part of the loss: without labels, which have no UAR then, it
        alone picks the epoch. Where nobody knows these either, none is picked.
        """
        if not len(self.validation):
            return None
        means, truth = self.validation.means(model.classifier.eval(), precision), self.validation.truth
        logits = self.validation.logits_of(means)
        loss, uar = np.mean([validation_scores(logits[of], truth[of]) for of in self.validation.of_parts], axis=0)
        is_known = logits.shape[1] > 1
        for column, weight in enumerate(self._loss.attributes.values()):
            assert self.labeled.attributes is not None
            values = torch.from_numpy(self.labeled.attributes[self.validation.indices, column])
            if n_known := int((~values.isnan()).sum()):
                is_known = True
                said = torch.from_numpy(means[:, logits.shape[1] + column])
                loss += weight * float(concordance_loss(said, values)) / n_known
        if not is_known:
            return None
        return float(loss), float(uar) if logits.shape[1] > 1 else None

    def _labels_of_sets(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each labeled set its `SetLabels`; weights of training recordings sum to the same in each."""
        speech, train = self.labeled.speech, self.labeled.train
        costs = np.zeros((len(speech.labels),) * 2, np.float32)
        if self._loss.penalty and speech.votes is not None:
            costs = confusion_costs(speech.votes[train])
        for number, has in enumerate(speech.labels_of_parts):
            places = np.flatnonzero(has)
            truth = self._truth[train[self._part_index[train] == number]]
            truth = truth[:, places] if truth.ndim == 2 else np.searchsorted(places, truth)
            weights = label_weights(self._config.class_weights, truth, len(places))
            balance = len(train) / (len(truth) * len(speech.parts))
            weights *= np.float32(balance)
            own_costs = weights[:, None] * costs[np.ix_(places, places)]
            yield torch.from_numpy(places), torch.from_numpy(weights), torch.from_numpy(own_costs)

    def heard_statistics(self) -> np.ndarray:
        """Statistics of random training segments as they are heard, float32 [512, 3, 64]: weight, mean and deviation.

        None of them where the network does not normalise by "speech".
        """
        if self._of_speech is None:
            return np.zeros((0, 3, N_BANDS), np.float32)
        rng = np.random.default_rng(self._seed)
        rows, _ = self._versions(rng.choice(self.labeled.train, _N_HEARD), rng)
        segments = self._in_the_world(self._segments_of(rows, rng.random(_N_HEARD), rng).log_mel, rng)
        mean, std, weight = _speech_statistics(segments)
        assert weight is not None
        return torch.stack([weight.expand_as(mean), mean, std], dim=1)[..., 0].cpu().numpy()

    def _cluster(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the labeled set and of the table the cluster of each recording's middle, int64 [N] and [N_u].

        Recordings that are not learned from are not heard; theirs is 0.
        """
        mels, train, held = self.labeled.mels, self.labeled.train, self._segments
        speeds = np.array(self._config.augment.speeds)
        as_recorded = train + len(self.labeled.speech) * int(np.abs(speeds - 1).argmin())
        model = self.model.classifier.eval()

        def encode(segments: Tensor) -> Tensor:
            return model.encode(self._normalised(segments))

        vectors = [encoded(encode, lambda rows: self._cut(rows, mels.first_frames(rows, _middle(rows))), as_recorded)]
        if isinstance(held, HeldSegments):
            vectors.append(encoded(encode, lambda rows: held.cut(rows, _middle(rows)).log_mel, held.kept))
        model.train()
        found = cluster(np.concatenate(vectors), self._loss.clusters, cluster_seed(self._seed, epoch))
        own, others = np.zeros(len(self.labeled.speech), np.int64), np.zeros(0, np.int64)
        own[train] = found[: len(train)]
        if isinstance(held, HeldSegments):
            others = np.zeros(held.kept[-1] + 1, np.int64)
            others[held.kept] = found[len(train) :]
        return own, others

    def _drawn_before(self, epoch: int) -> tuple[int, int]:
        """Unlabeled rows that all processes and this one have drawn; shares of a batch are not always even."""
        steps = [step for earlier in range(1, epoch) for step in self.plan(earlier).steps(self._seed, earlier)]
        here = sum(len(range(step.n_unlabeled)[self._share(len(step.labeled))]) for step in steps)
        return sum(step.n_unlabeled for step in steps), here

    def _share(self, n_before: int) -> slice:
        """Which items of a batch, after so many others, are this process's: item i goes to i modulo their number."""
        return slice((self._group.rank - n_before) % self._group.world_size, None, self._group.world_size)

    def _batch(self, rows: np.ndarray, places: np.ndarray, n_unlabeled: int, rng: np.random.Generator) -> Batch:
        mine, share = self._share(0), self._share(len(rows))
        rows, places = rows[mine], places[mine]
        wanted, speech = self._config.augment, self.labeled.speech
        sizes = tuple(np.bincount(self._part_index[rows], minlength=len(speech.parts)).tolist())
        heard, speeds = self._versions(rows, rng)
        inputs, first_frames, seconds = self._segments_of(heard, places, rng)
        clusters = self._clusters[0][rows] if self._clusters else None
        truth = torch.from_numpy(self._truth[rows]).to(inputs.device, non_blocking=True)
        if wanted.mixup_alpha and len(rows):
            inputs, truth = augment.mixup(inputs, truth, len(speech.labels), wanted.mixup_alpha, rng, sizes)
        if n_unlabeled and self._segments is not None:
            segments = self._segments.take(n_unlabeled, share)
            inputs = torch.cat([inputs, self._cut_alike(segments.log_mel, rng)])
            targets = self._aligned(segments.targets)
            if self._clusters and clusters is not None:
                clusters = np.concatenate([clusters, self._clusters[1][segments.rows]])
        else:
            none = inputs.new_zeros(0, dtype=torch.bool)
            targets = {
                name: SegmentTarget(inputs.new_zeros(0, one.n_values), none) for name, one in self._teachers.items()
            }
        if self.labeled.windows:
            windows = self.labeled.windows.items()
            of_labeled = {name: one.means(rows, first_frames, speeds, seconds) for name, one in windows}
            targets = {name: joined(of_labeled[name], target) for name, target in targets.items()}
        for name, reduce in self._reductions.items():
            targets[name] = SegmentTarget(reduce(targets[name].values), targets[name].valid)
        known = self.labeled.attributes
        attributes = inputs.new_zeros(0, 0) if known is None else torch.from_numpy(known[rows]).to(inputs.device)
        pseudo = None if clusters is None else torch.from_numpy(clusters).to(inputs.device)
        return Batch(self._as_heard(inputs, rng), Targets(truth, targets, sizes, attributes, pseudo))

    def _aligned(self, targets: Mapping[str, SegmentTarget]) -> dict[str, SegmentTarget]:
        factors = self._unlabeled.alignments if self._unlabeled else {}
        return {
            name: SegmentTarget(aligned(one.values, factors[name]), one.valid) if name in factors else one
            for name, one in targets.items()
        }

    def _versions(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """In which way each recording is heard: its row among the spectrograms, int64 [n], and its speed, float [n]."""
        wanted = self._config.augment
        speeds = np.array([*wanted.speeds, *[1.0] * wanted.copies])
        version = np.zeros(len(rows), np.int64)
        if len(speeds) > 1:
            version = rng.integers(len(speeds), size=len(rows))
        return rows + len(self.labeled.speech) * version, speeds[version]

    def _segments_of(self, rows: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> _Heard:
        """Segments of recordings, at these places of them (float [n], 0..1) or cut at random."""
        mels, n_frames = self.labeled.mels, self.labeled.mels.n_frames(rows)
        if self._chunks:
            n_heard = np.minimum(n_frames, reach_frames(self._chunks))
            first_frames = segment_starts(n_frames, places, n_heard)
            inputs = self._cut.pieces(rows, first_frames[:, None] + chunk_frames(n_heard, self._chunks))
            return _Heard(inputs, first_frames, _seconds(n_heard))
        if self._bounds is None:
            first_frames = mels.first_frames(rows, places)
            return _Heard(self._cut(rows, first_frames), first_frames, np.full(len(rows), SEGMENT_S))
        heard = self._in_pieces(partial(self._cut.pieces, rows), n_frames, self._bounds[rows], places, rng)
        # Up to 3 s a recording goes forth and back, and a piece may lie beyond it: it has what is said of all of it.
        is_short = n_frames == SEGMENT_FRAMES
        first_frames, seconds = np.where(is_short, 0, heard.first_frames), np.where(is_short, SEGMENT_S, heard.seconds)
        return heard._replace(first_frames=first_frames, seconds=seconds)

    def _cut_alike(self, segments: Tensor, rng: np.random.Generator) -> Tensor:
        """Unlabeled segments float32 [n, 64, 94] as labeled recordings are heard, float32 [n, 64, F].

        In chunks, or in pieces, which have the target of the segment, and among other people: a student that hears
        always the same learns by heart what the teachers say of it (noisy student, Xie et al. 2020).
        """
        n = len(segments)
        if self._chunks:
            return in_chunks(segments, self._chunks)
        if self._bounds is None or not n:
            return segments
        n_frames = np.full(n, SEGMENT_FRAMES)
        frames = segments.transpose(1, 2).flatten(0, 1)
        bounds = augment.speech_bounds(frames.cpu().numpy(), n_frames.cumsum())
        cut = partial(pieces_of, frames, n_frames.cumsum() - n_frames)
        return self._in_pieces(cut, n_frames, bounds, rng.random(n), rng).log_mel

    def _in_pieces(
        self,
        cut: Callable[[np.ndarray], Tensor],
        n_frames: np.ndarray,
        bounds: np.ndarray,
        places: np.ndarray,
        rng: np.random.Generator,
    ) -> _Heard:
        """Segments of recordings, a share of them among other people; ``cut`` gets the places of `augment.pieces`."""
        wanted = self._config.augment
        found = augment.pieces(n_frames, bounds, wanted.pieces, places, rng)
        inputs = cut(found)
        if wanted.babble:
            inputs = augment.add_babble(inputs, wanted.babble, rng, self._talkers)
        first_frames = np.where(found == augment.SILENCE, n_frames[:, None], found).min(axis=1)
        return _Heard(inputs, first_frames, np.minimum(_seconds(found.max(axis=1) + 1 - first_frames), SEGMENT_S))

    def _talkers(self, n: int, rng: np.random.Generator) -> Tensor:
        """Random segments of the training recordings, with the silence around them cut off."""
        assert self._bounds is not None
        rows, mels = rng.choice(self.labeled.train, n), self.labeled.mels
        n_frames = mels.n_frames(rows)
        return self._cut.pieces(rows, augment.pieces(n_frames, self._bounds[rows], 1, rng.random(n), rng))

    def _in_the_world(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """Segments float32 [n, 64, F] in noise and through narrow bands."""
        wanted = self._config.augment
        if wanted.noise:
            inputs = augment.add_noise(inputs, wanted.noise, rng)
        if wanted.narrow:
            inputs = augment.narrow(inputs, wanted.narrow, rng)
        return inputs

    def _normalised(self, inputs: Tensor) -> Tensor:
        """Segments float32 [n, 64, F] as the network wants them, where that is of each segment."""
        return inputs if self._of_speech is None else self._of_speech(inputs, _speech_statistics(inputs))

    def _as_heard(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """Segments as the network gets them, float32 [n, 64, F]."""
        wanted = self._config.augment
        inputs = self._normalised(self._in_the_world(inputs, rng))
        if wanted.band_masks or wanted.frame_masks:
            inputs = augment.spec_augment(
                inputs, rng, wanted.band_masks, wanted.max_bands, wanted.frame_masks, wanted.max_frames
            )
        return inputs


def _seconds(n_frames: np.ndarray) -> np.ndarray:
    return n_frames * STRIDE_SAMPLES / SAMPLE_RATE_HZ


def _middle(rows: np.ndarray) -> np.ndarray:
    """Places in recordings, float [n]."""
    return np.full(len(rows), 0.5)


def _speech_statistics(segments: Tensor) -> BandStatistics:
    """Of each of some segments float32 [n, 64, F]."""
    n_frames = torch.full((len(segments),), segments.shape[2], device=segments.device)
    return recording_statistics(segments, n_frames, "speech")
