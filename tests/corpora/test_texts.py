"""What is said in labeled recordings, and sets in which it tells nothing."""

from dataclasses import replace

import pytest

from liser_ray.corpora.labeled import CORPORA, read_labeled_set
from liser_ray.corpora.texts import labeled_texts, uar_by_heart
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError


def said(rows, labels=("a", "b")):
    return LabeledSet("set", labels, tuple(Utterance("", *row[:2], text=row[2]) for row in rows), {"songs": 1})


def corpus(name, paths):
    parse = CORPORA[name].parser([])
    facts = [(one, parse(one)) for one in paths]
    utterances = tuple(Utterance(one, **said._asdict()) for one, said in facts if not isinstance(said, str))
    return LabeledSet(name, CORPORA[name].labels, utterances, {})


def test_a_list_need_not_name_files(tmp_path):
    (tmp_path / "said.csv").write_text('text;label;speaker;fold\n"Well; no.";b;2;1\nYes;a;1;0\n')
    labeled = read_labeled_set(str(tmp_path / "said.csv"), without_files=True)
    assert [(one.uri, one.text, one.label, one.fold) for one in labeled.utterances] == [
        ("", "Yes", "a", 0),
        ("", "Well; no.", "b", 1),
    ]
    with pytest.raises(UserError, match="no column 'path'"):
        read_labeled_set(str(tmp_path / "said.csv"))


def test_recordings_without_a_text_are_left_out_and_counted():
    found = labeled_texts(said([("a", "1", "Yes."), ("b", "1", "No."), ("a", "2", ""), ("b", "2", "Never.")]))
    assert (found.texts, found.speakers) == (("Yes.", "No.", "Never."), ("1", "1", "2"))
    assert found.label_index.tolist() == [0, 1, 1]
    assert found.skipped == {"songs": 1, "without a text": 1}
    with pytest.raises(UserError, match=r"no recording of the label b has a text.*--transcribe"):
        labeled_texts(said([("a", "1", "Yes."), ("b", "1", "")]))


def test_a_recording_that_is_listed_twice_counts_once():
    """One of two copies would train, and the other pick the epoch."""
    rows = [("x", "a", "1", "Yes."), ("x", "a", "1", "Yes."), ("y", "b", "1", "No."), ("", "b", "2", "No.")]
    listed = tuple(Utterance(*row[:3], text=row[3]) for row in [*rows, rows[-1]])
    found = labeled_texts(LabeledSet("set", ("a", "b"), listed, {}))
    # Nobody knows of texts without files.
    assert (len(found), found.skipped) == (4, {"listed twice, or with other labels": 1})
    unlike = Utterance("z", "a", "2", text="So."), listed[2], listed[0], replace(listed[0], label="b")
    found = labeled_texts(LabeledSet("set", ("a", "b"), unlike, {}))
    assert (found.texts, sum(found.skipped.values())) == (("So.", "No."), 2)


def test_by_heart_is_the_mean_over_labels_of_what_each_text_can_tell():
    rows = [*[("a", "1", "So.")] * 3, ("a", "1", "Yes"), *[("b", "2", "so ")] * 1, *[("b", "2", "No!")] * 3]
    # so is a: 3 of 4; yes: 1 of 4; no: 3 of 4
    assert uar_by_heart(labeled_texts(said(rows))) == pytest.approx((3 / 4 + 1 / 4 + 3 / 4) / 2)


def test_sentences_that_all_labels_share_are_refused_with_the_figures():
    strong = [(kind, one) for kind in range(1, 9) for one in (1, 2) if (kind, one) != (1, 2)]
    names = [
        f"03-01-{kind:02}-{one:02}-{sentence:02}-{again:02}-{actor:02}"
        for kind, one in strong
        for sentence in (1, 2)
        for again in (1, 2)
        for actor in range(1, 25)
    ]
    words = (
        r"1,440 recordings have 2 different texts, of which 2 are said with all of the 8 labels\. .* by heart "
        r"would have a UAR of 0\.125 \(chance 0\.125\)"
    )
    with pytest.raises(UserError, match=words):
        labeled_texts(corpus("ravdess", names))
    levels = {"IEO": ("LO", "MD", "HI")}
    names = [
        f"{actor}_{sentence}_{label}_{level}"
        for actor in range(1001, 1092)
        for sentence in ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
        for label in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
        for level in (levels.get(sentence, ("XX",)) if label != "NEU" else ("XX",))
    ]
    with pytest.raises(UserError, match=r"12 different texts, of which 12 .* UAR of 0\.189 \(chance 0\.167\)"):
        labeled_texts(corpus("cremad", names))
