"""Tones as files, and a labels table whose teachers know their labels: all that a student's training reads."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from small_labels import FACE, speech_target, write_labels
from tones import LABELS, make_tones

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import load_labeled_speech
from liser_ray.teachers.targets import Target

SPEAKERS = "abcdefgh"


def speakers_of(fold: int) -> list[str]:
    """Fold 0 tests a, c, e and g, fold 1 the others."""
    return [speaker for i, speaker in enumerate(SPEAKERS) if i % 2 == fold]


def write_tones(folder: Path, name: str = "tones", takes: int = 1) -> str:
    """A manifest of 24 tones of 2 to 3.6 s for each take, with two folds; gives its address."""
    speech = make_tones(SPEAKERS, takes, shortest_s=2.0, longest_s=3.6)
    rows = []
    for i in range(len(speech)):
        soundfile.write(folder / f"{i}.wav", speech.waveform(i), 16_000)
        fold = SPEAKERS.index(speech.speakers[i]) % 2
        rows.append([f"{i}.wav", LABELS[speech.label_index[i]], speech.speakers[i], fold])
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "fold"], *rows])
    return str(folder / f"{name}.csv")


def write_calls(folder: Path) -> str:
    """A second set with three folds: 12 tones, deep and high alone, of speakers who are called as some of the first."""
    speech, rows = make_tones("abc", takes=2, shortest_s=1.0, longest_s=2.0, seed=5), []
    for i in np.flatnonzero(speech.label_index != LABELS.index("middle")):
        soundfile.write(folder / f"{i}.wav", speech.waveform(i), 16_000)
        label, speaker = ("deep", "", "high")[speech.label_index[i]], speech.speakers[i]
        rows.append([f"{i}.wav", label, speaker, "abc".index(speaker), "woman"])
    with (folder / "calls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "fold", "sex"], *rows])
    return str(folder / "calls.csv")


def write_tone_labels(folder: Path, manifest: str, labeled_fraction: float = 1.0, rows: int = 12) -> str:
    """A labels table by a face teacher and by a speech teacher of each fold, who heard so much; gives its address."""
    targets = (FACE, *speech_targets(manifest, labeled_fraction))
    write_labels(folder, rows=rows, targets=targets, lengths_s=(2.0, 5.0), rows_per_group=4)
    return str(folder)


def write_targets_of_tones(folder: Path, manifest: str, **settings) -> str:
    """A labels table of the tones themselves, made where they lay elsewhere, by the speech teachers alone."""
    speech = load_labeled_speech(read_labeled_set(manifest))
    sounds = [(f"elsewhere/{i}.wav", 0.0, speech.waveform(i)) for i in range(len(speech))]
    write_labels(folder, **{"targets": speech_targets(manifest), "sounds": sounds, "seed": 1} | settings)
    return str(folder)


def emodistill_targets(manifest: str) -> list[Target]:
    """Of a prosodic and of a linguistic teacher for each fold, with an answer and an embedding for each recording."""
    return [
        replace(one, name=one.name.replace("speech", name), teacher=name, window_s=0.0, hop_s=0.0, embedding_size=size)
        for name, size in (("prosody", 6), ("words", 5))
        for one in speech_targets(manifest)
    ]


def speech_targets(manifest: str, labeled_fraction: float = 1.0) -> list[Target]:
    """Of a teacher for each fold, which has heard so much of those it may."""
    labeled, given = read_labeled_set(manifest), {"labeled_fraction": labeled_fraction}
    return [
        speech_target(f"speech_fold_{fold.index}", LABELS, fold.index, sorted(fold.train), labeled.name, **given)
        for fold in folds_of(labeled)
    ]
