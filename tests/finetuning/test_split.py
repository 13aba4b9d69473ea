import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.segments import WHOLE
from liser_ray.corpora.speech import LabeledSpeech, training_recordings
from liser_ray.finetuning.split import MIN_SPEAKERS, split_fold
from liser_ray.runtime.errors import UserError

LABELS = ("happy", "neutral", "sad")
SHARE = 0.2


def labeled_speech(rows, labels=LABELS):
    """Recordings of (label, speaker) rows, one sample each."""
    return LabeledSpeech(
        name="set",
        labels=labels,
        pcm=np.arange(len(rows), dtype=np.int16),
        ends=np.arange(1, len(rows) + 1),
        label_index=np.array([labels.index(label) for label, _ in rows], np.int64),
        speakers=tuple(speaker for _, speaker in rows),
        sexes={},
        uris=tuple(f"/{k}.wav" for k in range(len(rows))),
        segments=(WHOLE,) * len(rows),
        skipped={},
        problems=(),
    )


def spoken(speakers, takes=2):
    return [(label, speaker) for speaker in speakers for label in LABELS for _ in range(takes)]


def fold(train, test, validation=(), index=0):
    return Fold(index, frozenset(train), frozenset(validation), frozenset(test))


def speakers_of(speech, indices):
    return {speech.speakers[k] for k in indices}


def labels_of(speech, indices):
    return {speech.labels[k] for k in speech.label_index[indices]}


def parts(split):
    return split.train.tolist(), split.selection.tolist(), split.test.tolist()


@st.composite
def cases(draw):
    """Speech of some speakers in random order, and a fold of them; every speaker has every label two to four times."""
    speakers = [f"s{k}" for k in range(draw(st.integers(2, 14)))]
    others = st.sampled_from(["train", "train", "train", "test", "validation"])
    drawn = draw(st.lists(others, min_size=len(speakers) - 2, max_size=len(speakers) - 2))
    part = draw(st.permutations(["train", "test", *drawn]))
    of = {name: [one for one, its in zip(speakers, part, strict=True) if its == name] for name in set(part)}
    rows = [row for one in speakers for row in spoken([one], takes=draw(st.integers(2, 4)))]
    made = fold(of["train"], of["test"], of.get("validation", ()), draw(st.integers(0, 9)))
    return labeled_speech(draw(st.permutations(rows))), made


@given(cases(), st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_no_recording_is_where_its_speaker_does_not_belong(case, share, seed):
    speech, made = case
    split = split_fold(speech, made, share, seed)
    train, selection, test = parts(split)
    assert speakers_of(speech, train) | speakers_of(speech, selection) == made.train
    assert speakers_of(speech, test) == made.test
    assert not speakers_of(speech, train + selection + test) & made.validation
    # Nothing twice, and nothing lost but the validation speakers'.
    belonging = [k for k, speaker in enumerate(speech.speakers) if speaker not in made.validation]
    assert sorted(train + selection + test) == belonging
    assert train
    assert labels_of(speech, split.train) == set(LABELS)
    assert labels_of(speech, split.selection) == set(LABELS)
    apart = not speakers_of(speech, train) & speakers_of(speech, selection)
    assert split.held_out_by == ("speaker" if len(made.train) >= MIN_SPEAKERS else "recording")
    assert apart or split.held_out_by == "recording"


@pytest.mark.parametrize(("n_speakers", "n_held_out"), [(10, 2), (5, 1)])
def test_a_fifth_of_the_speakers_is_held_out_if_there_are_five(n_speakers, n_held_out):
    train = "abcdefghij"[:n_speakers]
    speech = labeled_speech(spoken(train + "z", takes=5))
    split = split_fold(speech, fold(train, "z"), SHARE, seed=0)
    assert split.held_out_by == "speaker"
    assert len(speakers_of(speech, split.selection)) == n_held_out
    assert len(speakers_of(speech, split.train)) == n_speakers - n_held_out


def test_of_four_speakers_a_fifth_of_each_labels_recordings_is_held_out():
    speech = labeled_speech(spoken("abcdef", takes=5))
    by_recording = split_fold(speech, fold("abcd", "f"), SHARE, seed=0)
    assert by_recording.held_out_by == "recording"
    assert np.bincount(speech.label_index[by_recording.selection]).tolist() == [4, 4, 4]  # of 20 each
    assert np.bincount(speech.label_index[by_recording.train]).tolist() == [16, 16, 16]


def test_train_speakers_without_recordings_do_not_count():
    speech = labeled_speech(spoken("abcf"))  # nothing usable of d and e
    assert split_fold(speech, fold("abcde", "f"), SHARE, seed=0).held_out_by == "recording"


def test_a_rare_label_is_in_both_parts_and_a_single_recording_trains():
    rows = [*spoken("ab", takes=10), ("rare", "a"), ("rare", "b"), ("single", "a"), *spoken("c")]
    speech = labeled_speech(rows, (*LABELS, "rare", "single"))
    split = split_fold(speech, fold("ab", "c"), SHARE, seed=0)
    assert labels_of(speech, split.train) == {*LABELS, "rare", "single"}
    assert labels_of(speech, split.selection) == {*LABELS, "rare"}


def test_labels_that_training_lacks_are_named():
    rows = [("happy", speaker) for speaker in "abcdefg"] + spoken("h")
    with pytest.raises(UserError, match="fold 3: no training recording has the label neutral, sad"):
        split_fold(labeled_speech(rows), fold("abcdefg", "h", index=3), SHARE, seed=0)


def test_nobody_to_test_on_is_refused():
    with pytest.raises(UserError, match="none to test on"):
        split_fold(labeled_speech(spoken("ab")), fold("ab", "c"), SHARE, seed=0)


@pytest.mark.parametrize("train", ["abcd", "abcdefgh"])
def test_same_seed_and_fold_same_split_and_others_differ(train):
    speech = labeled_speech(spoken("abcdefghi", takes=6))

    def drawn(seed, index):
        return parts(split_fold(speech, fold(train, "i", index=index), SHARE, seed))

    assert drawn(1, 0) == drawn(1, 0)
    assert any(drawn(seed, 0) != drawn(0, 0) for seed in range(1, 4))
    assert any(drawn(0, index) != drawn(0, 0) for index in range(1, 4))


def test_who_is_held_out_does_not_depend_on_the_order_of_recordings():
    rows = spoken("abcdefghi")
    made = fold("abcdefgh", "i")
    one, other = labeled_speech(rows), labeled_speech(rows[::-1])
    held_out = [speakers_of(speech, split_fold(speech, made, SHARE, 0).selection) for speech in (one, other)]
    assert held_out[0] == held_out[1]


@given(cases(), st.sampled_from([0.25, 0.5, 0.75]), st.sampled_from(["recording", "speaker"]), st.integers(0, 5))
def test_a_teacher_of_a_share_of_the_labels_hears_what_its_student_does_and_no_more(case, fraction, by, seed):
    speech, made = case
    try:
        split = split_fold(speech, made, SHARE, seed, fraction, by)
    except UserError:  # too few recordings are left
        return
    of_student = training_recordings(speech, made, fraction, by)
    assert sorted([*split.train, *split.selection]) == of_student.tolist()
    assert split.test.tolist() == speech.of_speakers(made.test).tolist()
    assert {*of_student} <= {*training_recordings(speech, made, min(1.0, fraction + 0.25), by)}
    if by == "speaker":
        labeled = speakers_of(speech, of_student)
        assert len(labeled) == max(1, round(fraction * len(made.train)))
        assert of_student.tolist() == speech.of_speakers(labeled).tolist()
