"""What a student learns from, and its loss; the loop itself is in tests/training/test_fit.py."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import (
    ALONE,
    CPU,
    N_FACE,
    SPEECH,
    TARGETS,
    UNLABELED,
    finish,
    in_double,
    log_mels,
    make_training,
    without_time,
)
from tones import LABELS

from liser_ray.student.chunks import chunk_frames
from liser_ray.student.config import LossConfig
from liser_ray.student.data.mels import at_speeds
from liser_ray.student.data.order import labeled_crops
from liser_ray.student.data.unlabeled import HeldSegments, TargetWindows, no_windows
from liser_ray.student.front_end import TINY_POWER
from liser_ray.student.training.config import AugmentConfig, TrainConfig
from liser_ray.student.training.task import Labeled, StudentTask, Unlabeled
from liser_ray.training.fit import ProcessGroup, Training, fit_settings
from liser_ray.training.precision import able_precision

GOLDEN = Path(__file__).parents[2] / "data/student_golden.json"
SHORT = TrainConfig(epochs=2, batch_size=8, learning_rate=2e-3)


def golden_curve():
    """Losses of an epoch with everything in it: two targets, confidence, faces that are missing."""
    training = finish(make_training(train=TrainConfig(epochs=1, batch_size=8, learning_rate=2e-3), wrap=in_double))
    return [{name: value for name, value in score.flat.items() if name != "seconds"} for score in training.history]


def test_the_golden_loss_curve():
    """Written by `python tests/student/training/test_task.py` when the method changes on purpose.

    The network is in double precision, spectrograms in single. As the kinds of CPU of `make numerics` compute them the
    first epoch's figures differ by 7e-6 at most (relative; the later ones' by 2e-4 and 2e-3, as small differences
    grow: so only the first is compared).
    """
    expected = json.loads(GOLDEN.read_text())
    for found, wanted in zip(golden_curve(), expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)


def test_it_learns_the_tones_and_keeps_the_best_epoch():
    training = finish(make_training(train=TrainConfig(epochs=8, batch_size=8, learning_rate=3e-3)))
    first, last = training.history[0], training.history[-1]
    assert last.terms["supervised"] < 0.5 * first.terms["supervised"]
    assert first.loss == pytest.approx(sum(first.terms.values()), rel=1e-6)
    windows = UNLABELED.windows["face"]
    assert first.shares["without_speech"] == 0
    assert first.shares["without_face"] == pytest.approx(np.mean(~windows.counted[windows.ends - 1]))
    assert training.best.validation_uar == max(score.validation_uar for score in training.history) > 0.6
    assert training.task.validate(training.model, "float32")[1] == training.best.validation_uar


def test_without_teachers_and_validation_speakers():
    training = make_training(LossConfig(), recordings=None, train=SHORT, validation=np.zeros(0, np.int64))
    finish(training)
    assert (training.best.epoch, training.best.validation_uar) == (2, None)
    for score in training.history:
        assert score.terms == score.shares == {}
    assert training.steps(1) == 3  # 24 recordings


def test_labels_alone_take_as_many_steps_as_distillation():
    distilled = make_training(train=SHORT)
    n_steps = distilled.task.n_steps(1)
    alone = finish(make_training(LossConfig(), recordings=None, train=replace(SHORT, epoch_steps=n_steps)))
    assert alone.steps(2) == distilled.steps(2) == 2 * n_steps > 2 * 3
    steps = [step.parts[0] for epoch in (1, 2) for step in alone.task.steps(epoch)]
    truths = torch.cat([part.targets.truth for part in steps])
    assert torch.bincount(truths).tolist() == [len(truths) // 3] * 3  # whole passes over as many of each label
    inputs = torch.cat([part.inputs for part in steps])
    assert len(inputs.flatten(1).unique(dim=0)) > 1.5 * 24  # a recording is cut anew in each pass


def test_a_placebo_takes_the_same_steps_and_the_same_sound_with_other_targets():
    plain, placebo = (make_training(train=replace(SHORT, placebo=one)).task for one in (False, True))
    assert plain.n_steps(1) == placebo.n_steps(1)
    differ = 0
    for one, other in zip(plain.steps(1), placebo.steps(1), strict=True):
        (ours,), (theirs,) = one.parts, other.parts
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.targets.truth, theirs.targets.truth)
        differ += (ours.targets.by_name["speech"].values != theirs.targets.by_name["speech"].values).any(dim=1).sum()
    assert differ > 10


def test_unlabeled_segments_are_cut_as_labeled_ones_are_and_keep_what_is_said_of_them():
    whole, cut = (make_training(train=replace(SHORT, augment=AugmentConfig(pieces=one))).task for one in (0.0, 1.0))
    differ = n_heard = 0
    for one, other in zip(whole.steps(1), cut.steps(1), strict=True):
        (ours,), (theirs,) = one.parts, other.parts
        n_labeled = len(ours.targets.truth)
        for name, target in ours.targets.by_name.items():
            assert torch.equal(target.values, theirs.targets.by_name[name].values)
        for segment, piece in zip(ours.inputs[n_labeled:], theirs.inputs[n_labeled:], strict=True):
            known = torch.cat([segment.T, torch.full((1, 64), math.log(TINY_POWER))])
            assert (piece.T[:, None] == known).all(dim=2).any(dim=1).all()
            differ, n_heard = differ + (not torch.equal(segment, piece)), n_heard + 1
    assert differ > 0.25 * n_heard > 0  # of the others all is speech, which may stay whole


def test_other_people_talk_beside_unlabeled_segments_too():
    alone, among = (make_training(train=replace(SHORT, augment=AugmentConfig(babble=one))).task for one in (0.0, 1.0))
    for one, other in zip(alone.steps(1), among.steps(1), strict=True):
        (ours,), (theirs,) = one.parts, other.parts
        assert (theirs.inputs.exp().sum(dim=(1, 2)) > ours.inputs.exp().sum(dim=(1, 2))).all()


@pytest.mark.parametrize(("labeled_per_batch", "epoch_steps"), [(0, 0), (5, 0), (0, 4)])
def test_stopped_and_gone_on_it_is_as_if_never_stopped(labeled_per_batch, epoch_steps):
    steps = {"labeled_per_batch": labeled_per_batch, "epoch_steps": epoch_steps}
    train = replace(SHORT, **steps, ema_decay=0.9, schedule="cosine")
    loss = replace(CLUSTERED, lambdas={"speech": 2.0, "face": 0.5}) if epoch_steps else None
    whole, first, second = (make_training(loss, train=train) for _ in range(3))
    finish(whole)
    first.run_epoch()
    second.load_state(first.state())
    finish(second)
    assert without_time(second) == without_time(whole)
    for one, other in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_fixed_number_of_labeled_recordings_a_batch():
    training = make_training(train=replace(SHORT, labeled_per_batch=6))
    batches = [step.parts[0].targets for step in training.task.steps(1)]
    assert [(len(batch.truth), len(batch.by_name["speech"].values)) for batch in batches] == [(6, 2)] * 4
    assert training.steps(1) == 4


def test_two_stages_distil_first_and_then_learn_from_labels():
    training = finish(make_training(train=replace(SHORT, two_stage=True)))
    assert training.epochs == 4
    first, second = training.history[:2], training.history[2:]
    assert all(one.terms["supervised"] == 0 < one.terms["speech"] and one.validation_uar is None for one in first)
    assert all(one.terms["supervised"] > 0 == one.terms["speech"] == one.terms["face"] for one in second)
    assert training.best.epoch > 2


def test_recordings_are_heard_at_all_speeds():
    speeds = (0.8, 1.0)
    training = make_training(recordings=None, train=replace(SHORT, augment=AugmentConfig(speeds=speeds)))
    heard = log_mels(list(at_speeds([SPEECH.waveform(i) for i in range(len(SPEECH))], speeds)))
    marked = replace(heard, frames=heard.frames.copy())
    marked.frames[: heard.ends[len(SPEECH) - 1]] = 7.0  # those at the first speed
    task = like(training.task, replace(training.task.labeled, mels=marked), None, training.task._config)
    inputs = torch.cat([step.parts[0].inputs for step in task.steps(1)])
    at_first_speed = (inputs == 7).all(dim=(1, 2))
    assert len(inputs) == len(task.labeled.train)
    assert 0.2 < at_first_speed.float().mean() < 0.8
    assert not (inputs[~at_first_speed] == 7).any()


def of_labeled(task, speeds=(1.0,)):
    """A task whose labeled recordings a teacher has heard: its values are which recording and which window it is."""
    n_windows = np.diff(SPEECH.ends, prepend=0) // 8000
    values = np.zeros((n_windows.sum(), len(LABELS)), np.float32)
    values[:, 0] = np.repeat(np.arange(len(SPEECH)), n_windows)
    values[:, 1] = np.concatenate([np.arange(n) for n in n_windows])
    windows = {"speech": TargetWindows(values, np.ones(len(values), bool), np.cumsum(n_windows), 24_000, 24_000)}
    windows["face"] = no_windows(len(SPEECH), N_FACE)
    mels = log_mels(list(at_speeds([SPEECH.waveform(i) for i in range(len(SPEECH))], speeds)))
    labeled = replace(task.labeled, mels=mels, targets=TARGETS, windows=windows)
    return like(task, labeled, task._unlabeled, replace(SHORT, augment=AugmentConfig(speeds=speeds)))


@pytest.mark.parametrize("recordings", [None, UNLABELED])
def test_labeled_recordings_have_targets_too_if_there_are_any(recordings):
    task = of_labeled(make_training(recordings=recordings).task, (0.8, 1.25))
    alone = like(task, replace(task.labeled, windows={}), task._unlabeled, task._config)
    n_labeled = 0
    for taught, plain in zip(task.steps(1), alone.steps(1), strict=True):
        (part,), (without,) = taught.parts, plain.parts
        assert torch.equal(part.inputs, without.inputs)
        n = len(part.targets.truth)
        for name, target in part.targets.by_name.items():
            assert len(target.values) == len(target.valid) == len(part.inputs)
            assert torch.equal(target.values[n:], without.targets.by_name[name].values)
        speech, face = (part.targets.by_name[name] for name in ("speech", "face"))
        recording = speech.values[:n, 0].round().long()
        assert torch.equal(torch.from_numpy(SPEECH.label_index)[recording], part.targets.truth)
        assert speech.valid[:n].all()
        assert not face.valid[:n].any()
        n_labeled += n
    assert n_labeled == len(task.labeled.train)


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.25])
def test_what_is_said_of_a_labeled_segment_is_of_its_place_in_the_recording_at_any_speed(speed):
    task = of_labeled(make_training(recordings=None).task, (speed,))
    places, ends = labeled_crops(len(SPEECH), 0, 1), SPEECH.ends
    for step in task.steps(1):
        for recording, window, _ in step.parts[0].targets.by_name["speech"].values.tolist():
            n_samples = int(ends[round(recording)] - (ends[round(recording) - 1] if recording else 0))
            n_frames = max(1 + -(-n_samples // speed) // 512, 94)
            start_s = int(places[round(recording)] * (n_frames - 93)) * 0.032 * speed
            inside = [k for k in range(n_samples // 8000) if start_s <= k / 2 + 0.25 < start_s + 3 * speed]
            assert window == pytest.approx(np.mean(inside), abs=1e-5)


def test_what_is_said_of_a_piece_of_a_labeled_recording_is_of_that_part_of_it():
    task = of_labeled(make_training(recordings=None).task)
    numbered = replace(task.labeled.mels, frames=task.labeled.mels.frames.copy())
    for row, start in enumerate(numbered.starts(np.arange(len(SPEECH)))):  # frames say where they lie
        numbered.frames[start : numbered.ends[row]] = np.arange(numbered.ends[row] - start)[:, None] / 256
    cut = replace(SHORT, augment=AugmentConfig(pieces=1))
    task = like(task, replace(task.labeled, mels=numbered), None, cut)
    shortest = 94
    for step in task.steps(1):
        (part,) = step.parts
        speech = part.targets.by_name["speech"]
        for segment, said, valid in zip(part.inputs, speech.values.tolist(), speech.valid, strict=True):
            recording, window, _ = said
            frames = 256 * segment[0][segment[0] >= 0]
            start_s, shortest = float(frames.min()) * 0.032, min(shortest, len(frames.unique()))
            end_s = start_s + min(3, len(frames.unique()) * 0.032)
            n_samples = len(SPEECH.waveform(round(recording)))
            if n_samples < 94 * 512:  # of recordings of up to 3 s it is of all
                start_s, end_s = 0, 3
            inside = [k for k in range(n_samples // 8000) if start_s <= k / 2 + 0.25 < end_s]
            assert bool(valid) == bool(inside)
            assert not inside or window == pytest.approx(np.mean(inside), abs=1e-5)
    assert shortest < 60


def test_the_loss_has_their_terms_and_trains_without_unlabeled_recordings():
    plain = make_training(recordings=None, train=SHORT)
    training = Training(of_labeled(plain.task), fit_settings(SHORT), 0, ALONE, "float32")
    first = finish(training).history[0]
    assert first.terms["speech"] > 0 == first.terms["face"]
    assert first.shares == {"without_speech": 0, "without_face": 1}
    assert first.loss == pytest.approx(sum(first.terms.values()), rel=1e-6)


@pytest.mark.parametrize("chunks", [3, 4])
def test_with_chunks_each_labeled_recording_is_heard_whole_or_as_much_as_they_cover(chunks):
    """Recordings are of 3 to 4 s; three chunks cover 3.1 s, four 4.1."""
    task = make_training(recordings=None, chunks=chunks).task
    mels = task.labeled.mels
    numbered = np.concatenate([np.arange(n) for n in np.diff(mels.ends, prepend=0)]).astype(np.float32)
    row = np.repeat(np.arange(len(mels)), np.diff(mels.ends, prepend=0)).astype(np.float32)
    marked = replace(mels, frames=np.stack([numbered, row] * 32, axis=1))
    task = like(task, replace(task.labeled, mels=marked), None, SHORT)
    inputs = torch.cat([step.parts[0].inputs for step in task.steps(1)])
    rows = inputs[:, 1, 0].long().numpy()
    assert sorted(rows.tolist()) == task.labeled.train.tolist()
    n_heard = np.minimum(np.diff(mels.ends, prepend=0)[rows], 32 * chunks)
    firsts = inputs[:, 0].min(dim=1).values.long().numpy()
    np.testing.assert_array_equal(inputs[:, 0], firsts[:, None] + chunk_frames(n_heard, chunks))
    assert (firsts == 0).all() == (chunks == 4)


def test_with_chunks_what_is_said_of_a_labeled_recording_is_of_all_of_it():
    task = of_labeled(make_training(recordings=None, chunks=4).task)
    for step in task.steps(1):
        for recording, window, _ in step.parts[0].targets.by_name["speech"].values.tolist():
            n_windows = np.diff(SPEECH.ends, prepend=0)[round(recording)] // 8000
            assert window == pytest.approx((n_windows - 1) / 2)


def test_with_chunks_it_learns_from_labels_and_from_segments_of_unlabeled_recordings():
    training = finish(make_training(train=TrainConfig(epochs=8, batch_size=8, learning_rate=3e-3), chunks=4))
    first, last = training.history[0], training.history[-1]
    assert last.terms["supervised"] < 0.6 * first.terms["supervised"]
    assert last.terms["speech"] < first.terms["speech"]
    assert training.best.validation_uar > 0.6
    (part,) = next(training.task.steps(1)).parts
    others = part.inputs[len(part.targets.truth) :].unflatten(2, (4, 32))
    assert len(others) > 0
    assert torch.equal(others[:, :, 0, 20:], others[:, :, 1, :12])  # of 3 s they begin 20 frames apart


def like(task: StudentTask, labeled: Labeled, unlabeled: Unlabeled | None, train: TrainConfig, group=None):
    given = task.model, labeled, unlabeled, task.validation, train, task._loss, 0, group or ProcessGroup(CPU)
    return StudentTask(*given)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("epoch_steps", [0, 4])
def test_each_of_two_processes_goes_on_after_the_rows_that_it_has_drawn_itself(rank, epoch_steps):
    """Of batches of 7 the first gets an item more than the second."""
    started, taken = [], []

    class Counted(HeldSegments):
        def take(self, n, share=slice(None)):
            segments = super().take(n, share)
            taken.append(len(segments.log_mel))
            return segments

    def start(done, done_here):
        started.append((done, done_here))
        return Counted(UNLABELED, TARGETS, 0, done, CPU)

    task, train = make_training().task, replace(SHORT, epochs=9, batch_size=7, epoch_steps=epoch_steps)
    unlabeled = Unlabeled(len(UNLABELED.mels), start)
    whole, again = (like(task, task.labeled, unlabeled, train, ProcessGroup(CPU, rank, 2)) for _ in range(2))
    for epoch in (1, 2, 3):
        list(whole.steps(epoch))
    drawn = sum(taken)
    next(again.steps(4))
    n_rows = sum(step.n_unlabeled for epoch in (1, 2, 3) for step in whole.plan(epoch).steps(0, epoch))
    assert started == [(0, 0), (n_rows, drawn)]
    assert (n_rows == 3 * len(UNLABELED.mels)) == (epoch_steps == 0)


def voted(task):
    """The task with votes for its labeled recordings: two raters of three for the label, one for the next label."""
    truth = np.eye(len(LABELS), dtype=np.float32)[SPEECH.label_index]
    return replace(task.labeled, speech=replace(SPEECH, votes=2 * truth + np.roll(truth, 1, axis=1)))


@pytest.mark.parametrize(("truth", "shares"), [("votes", [0, 1 / 3, 2 / 3]), ("several", [0, 1 / 2, 1 / 2])])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_votes_take_the_place_of_labels(alpha, truth, shares):
    task = make_training(LossConfig(), recordings=None).task
    train = replace(SHORT, truth=truth, class_weights="balanced", augment=AugmentConfig(mixup_alpha=alpha))
    by_label, by_votes = (like(task, voted(task), None, one) for one in (replace(train, truth="label"), train))
    for one, other in zip(by_label.steps(1), by_votes.steps(1), strict=True):
        (label,), (votes,) = one.parts, other.parts
        assert torch.equal(label.inputs, votes.inputs)
        assert votes.targets.truth.sum(dim=1).tolist() == pytest.approx([1.0] * len(label.inputs))
        if not alpha:
            right = votes.targets.truth.gather(1, label.targets.truth[:, None])
            assert right.allclose(torch.tensor(shares[-1]))
            assert votes.targets.truth.sort(dim=1).values.allclose(torch.tensor(shares))
    assert finish(Training(by_votes, fit_settings(train), 0, ALONE)).history[0].loss > 0


CLUSTERED = LossConfig({"speech": 1.0}, clusters=4, cluster_weight=0.5)


def test_each_recording_comes_with_its_pseudo_label():
    task = make_training(CLUSTERED, train=SHORT).task
    for epoch in (1, 2):
        found = {}
        for part in (step.parts[0] for step in task.steps(epoch)):
            assert len(part.targets.clusters) == len(part.inputs)
            for segment, cluster in zip(part.inputs, part.targets.clusters.tolist(), strict=True):
                found[segment.numpy().tobytes()] = cluster
        assert len(found) == 44  # 24 labeled ones, 20 others
        assert {*found.values()} == {0, 1, 2, 3}
    finish(training := make_training(CLUSTERED, train=SHORT))
    assert all(score.terms["clusters"] > 0 for score in training.history)


def test_each_epoch_clusters_what_the_network_has_learned_and_begins_its_head_anew():
    task = make_training(CLUSTERED, train=SHORT).task
    head = task.model.heads["clusters_head"]

    def clusters():
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.zero_()
        found = torch.cat([step.parts[0].targets.clusters for step in task.steps(2)])
        assert all(one.weight.any() for one in head.modules() if isinstance(one, torch.nn.Linear))
        return found

    first, again = clusters(), clusters()
    assert torch.equal(first, again)
    torch.manual_seed(1)
    for layer in task.model.classifier.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    assert not torch.equal(first, clusters())


def test_recordings_that_are_left_out_have_no_part_in_the_clusters():
    kept = np.array([2, 3, 5, 7, 11])
    unlabeled = Unlabeled(5, lambda done, _: HeldSegments(UNLABELED, {}, 0, done, CPU, kept=kept))
    changed = replace(UNLABELED, mels=replace(UNLABELED.mels, frames=UNLABELED.mels.frames.copy()))
    ends = changed.mels.ends
    for row in {*range(len(ends))} - {*kept.tolist()}:
        changed.mels.frames[ends[row - 1] if row else 0 : ends[row]] = 100.0
    others = Unlabeled(5, lambda done, _: HeldSegments(changed, {}, 0, done, CPU, kept=kept))
    loss = LossConfig(clusters=4)
    found = []
    for of in (unlabeled, others):
        task = make_training(loss, recordings=None, train=SHORT).task
        task = like(task, task.labeled, of, SHORT)
        found.append(torch.cat([step.parts[0].targets.clusters for step in task.steps(1)]))
    assert torch.equal(*found)
    assert len(found[0]) == 29


def test_clusters_are_of_recordings_as_they_are_not_at_other_speeds():
    train = replace(SHORT, augment=AugmentConfig(speeds=(0.8, 1.0, 1.25), copies=1))
    task = make_training(LossConfig(clusters=4), recordings=None, train=train).task
    waveforms = [SPEECH.waveform(i) for i in range(len(SPEECH))]
    heard = log_mels([*at_speeds(waveforms, train.augment.speeds), *waveforms])
    found = []
    for first, end in ((0, 0), (0, len(SPEECH)), (2 * len(SPEECH), 4 * len(SPEECH))):
        frames, ends = heard.frames.copy(), np.concatenate([[0], heard.ends])
        frames[ends[first] : ends[end]] = np.random.default_rng(0).permutation(frames[ends[first] : ends[end]])
        found.append(like(task, replace(task.labeled, mels=replace(heard, frames=frames)), None, train)._cluster(1)[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert len({*found[0].tolist()}) == 4


def test_pseudo_labels_of_labels_alone_and_in_two_stages():
    alone = finish(make_training(LossConfig(clusters=3), recordings=None, train=SHORT))
    assert alone.history[0].terms["clusters"] == pytest.approx(np.log(3), rel=0.3)
    both = finish(make_training(CLUSTERED, train=replace(SHORT, epochs=1, two_stage=True)))
    assert all(score.terms["clusters"] > 0 for score in both.history)


def test_half_precision_is_another_arithmetic_with_much_the_same_result():
    precision = able_precision(CPU, "bfloat16")
    plain, half = (make_training(train=SHORT, precision=one).run_epoch() for one in ("float32", precision))
    assert half.loss == pytest.approx(plain.loss, rel=0.05)
    assert (half.loss != plain.loss) == (precision == "bfloat16")


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"augment": AugmentConfig(band_masks=1)}, True),
        ({"augment": AugmentConfig(frame_masks=2)}, True),
        ({"augment": AugmentConfig(mixup_alpha=0.4)}, True),
        ({"class_weights": "balanced"}, False),  # each label is there as often as the others
    ],
)
def test_a_variant_changes_the_training(changes, differs):
    plain, changed = (make_training(train=train).run_epoch() for train in (SHORT, replace(SHORT, **changes)))
    assert (changed.loss != pytest.approx(plain.loss)) == differs
    assert np.isfinite(changed.loss)


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.write_text(json.dumps(golden_curve(), indent=1) + "\n")
