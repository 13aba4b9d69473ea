"""Whom a teacher has heard, where a speaker is in several parts of a set."""

import pytest

from liser_ray.teachers.targets import TunedOn


@pytest.mark.parametrize(
    ("heard", "asked", "found"),
    [
        ("Ross (train)", "Ross (test)", False),  # other recordings, as the set is divided
        ("Ross (train)", "Ross (train)", True),
        ("Ross", "Ross (test)", True),  # all of them
        ("Ross (train)", "Ross", True),  # some of them
        ("3 (fold 1)", "3", True),
        ("3 (fold 1)", "13 (fold 1)", False),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_part_of_a_speaker_is_not_another_part_but_is_of_the_whole(heard, asked, found, joined):
    name, prefix = ("meld+ravdess", "meld/") if joined else ("meld", "")
    assert bool(TunedOn(name, 0, (prefix + heard,)).heard_of("meld", [asked])) is found
    assert bool(TunedOn("meld", 0, (heard,)).heard_of(name, [prefix + asked])) is found
    assert not TunedOn("emodb", 0, (heard,)).heard_of("meld", [asked])
