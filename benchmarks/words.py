"""What teachers of words and their transcripts are worth, on real texts and real speech; prints tables in Markdown.

    python benchmarks/words.py texts --texts FOLDER           GoEmotions (Ekman's six and neutral): a new small BERT
    python benchmarks/words.py speech --recogniser WHISPER --labeled ravdess:DIR cremad:DIR --videos FOLDER

See results/words.md.
"""

import argparse
import csv
import logging
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from liser_ray.corpora.folds import choose_folds, folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import read_waveform
from liser_ray.corpora.texts import LabeledTexts, labeled_texts
from liser_ray.finetuning.config import WordsConfig, WordsTrainSettings
from liser_ray.finetuning.job import finetune
from liser_ray.finetuning.run import TeacherJob
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.recogniser import Recogniser, load_recogniser

LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
N_GROUPS = 50  # in place of speakers, whom the set does not name
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
DIGITS = dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")))
GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},  # the letter itself
    {"z": DIGITS[0], **{str(number): word for number, word in DIGITS.items()}},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""What the six characters of a recording's name say, one word each, in GRID (Cooke et al. 2006)."""


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    texts = parts.add_parser("texts")
    texts.add_argument("--texts", type=Path, required=True)
    texts.add_argument("--epochs", type=int, default=5)
    speech = parts.add_parser("speech")
    speech.add_argument("--recogniser", required=True)
    speech.add_argument("--labeled", nargs="+", required=True)
    speech.add_argument("--videos", type=Path, required=True)
    speech.add_argument("--recordings", type=int, default=96, help="of each set, drawn at random")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(1)
    if options.part == "texts":
        print(text_table(options.texts, options.epochs))
    else:
        print(speech_tables(options))


def text_table(folder: Path, epochs: int) -> str:
    """Macro-F1 and UAR on the set's own test part, of classifiers that learn from the same texts."""
    rows = ["| | labels weighed | macro-F1 | UAR | accuracy | CPU seconds |", "|---|---|--:|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as temporary:
        listed = write_list(folder, Path(temporary, "goemotions.csv"))
        started = time.process_time()
        train = WordsTrainSettings(epochs, 3, 64, 1e-3, class_weights="balanced")
        config = WordsConfig(listed, str(Path(temporary, "out")), folds="0", base="", train=train, workers=0)
        scores = finetune(config).bundles[0].content["scores"]["recordings"]
        rows.append(row("new small BERT", "balanced", np.array(scores["confusion"]), time.process_time() - started))
        labeled = read_labeled_set(listed, without_files=True)
        recordings, (fold,) = labeled_texts(labeled), choose_folds("0", folds_of(labeled))
        split = TeacherJob(config.method(), fold, config.output).split(recordings)
        for weights in ("none", "balanced"):
            started = time.process_time()
            confusion = tf_idf(recordings, split, None if weights == "none" else weights)
            rows.append(row("TF-IDF, logistic regression", weights, confusion, time.process_time() - started))
        sizes = " / ".join(f"{len(getattr(split, part)):,}" for part in ("train", "selection", "test"))
    return "\n".join([*rows, "", f"Texts that train / select / test: {sizes}. Chance UAR {1 / len(LABELS):.3f}."])


def write_list(folder: Path, path: Path) -> str:
    """Texts with one label as a list: the set's test part is fold 0, all others are in groups in place of speakers."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "speaker", "fold"))
        for part in ("train", "dev", "test"):
            lines = (folder / f"ekman_{part}.tsv").read_text().splitlines()
            for number, line in enumerate(lines):
                text, labels, _ = line.rsplit("\t", 2)
                if "," not in labels and text.strip():
                    group = "test" if part == "test" else f"{part}-{number % N_GROUPS}"
                    writer.writerow((text, LABELS[int(labels)], group, int(part != "test")))
    return str(path)


def tf_idf(recordings: LabeledTexts, split: TeacherSplit, class_weight: str | None) -> np.ndarray:
    """Words and pairs of words, a linear classifier on them; its strength is picked on the selection texts."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    of = {part: [recordings.texts[i] for i in getattr(split, part)] for part in ("train", "selection", "test")}
    truth = {part: recordings.label_index[getattr(split, part)] for part in of}
    known = {part: (words.fit_transform if part == "train" else words.transform)(texts) for part, texts in of.items()}
    found = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight=class_weight, max_iter=1000)
        model.fit(known["train"], truth["train"])
        confusions = [
            confusion_matrix(truth[part], model.predict(known[part]), len(LABELS)) for part in ("selection", "test")
        ]
        found.append((macro_f1(confusions[0]), confusions[1]))
    return max(found, key=lambda one: one[0])[1]


def macro_f1(confusion: np.ndarray) -> float:
    """Mean over labels of 2 TP / (2 TP + FP + FN), 0..1."""
    return float(np.mean(2 * np.diag(confusion) / np.maximum(1, confusion.sum(axis=0) + confusion.sum(axis=1))))


def row(what: str, weights: str, confusion: np.ndarray, seconds: float) -> str:
    """Of the table."""
    figures = (macro_f1(confusion), uar(confusion), np.diag(confusion).sum() / confusion.sum())
    return f"| {what} | {weights} | {' | '.join(f'{one:.3f}' for one in figures)} | {seconds:.0f} |"


def speech_tables(options: argparse.Namespace) -> str:
    """Word errors where it is known what was said, what was heard where it is not, and what knowing all would tell."""
    recogniser = load_recogniser(options.recogniser, torch.device("cpu"))
    lines = ["| speech | recordings | words | word errors | CPU seconds for each |", "|---|--:|--:|--:|--:|"]
    refusals = []
    for spec in options.labeled:
        labeled = read_labeled_set(spec)
        order = np.random.default_rng(0).permutation(len(labeled.utterances))
        drawn = [labeled.utterances[i] for i in order[: options.recordings]]
        started = time.process_time()
        heard = recognised(recogniser, [read_waveform(one.uri) for one in drawn])
        seconds = (time.process_time() - started) / len(drawn)
        wrong = [errors(one.text, said) for one, said in zip(drawn, heard, strict=True)]
        n_words = [len(words(one.text)) for one in drawn]
        lines.append(error_row(labeled.name, wrong, n_words, f"{seconds:.2f}"))
        try:
            labeled_texts(labeled)
        except UserError as error:
            refusals.append(f"* {error}")
    videos = sorted(path for path in options.videos.iterdir() if path.suffix in (".mp4", ".mpg"))
    heard = recognised(recogniser, [read_waveform(str(path)) for path in videos])
    grid = [(spelled(path.stem), said) for path, said in zip(videos, heard, strict=True) if path.suffix == ".mpg"]
    if grid:
        lines.append(error_row("GRID", [errors(*one) for one in grid], [len(words(one[0])) for one in grid], ""))
    said = [f"| {path.name} | {text} |" for path, text in zip(videos, heard, strict=True)]
    return "\n".join([*lines, "", "| talking head | heard |", "|---|---|", *said, "", *refusals])


def recognised(recogniser: Recogniser, sounds: Sequence[np.ndarray]) -> list[str]:
    """As the labeling job hears them: in spans of 16 s."""
    most = 16 * 16_000
    return [" ".join(recogniser([sound[at : at + most] for at in range(0, len(sound), most)])) for sound in sounds]


def error_row(name: str, wrong: Sequence[int], n_words: Sequence[int], seconds: str) -> str:
    """Of the table: of each recording, how many words are wrong, and how many are said."""
    return f"| {name} | {len(wrong):,} | {sum(n_words):,} | {sum(wrong) / sum(n_words):.1%} | {seconds} |"


def spelled(stem: str) -> str:
    """What is said in a recording of GRID, by its name."""
    return " ".join(of.get(one, one) for of, one in zip(GRID, stem.removeprefix("grid_"), strict=True))


def words(text: str) -> list[str]:
    """In lower case, digits as words."""
    spaced = re.sub(r"(?<=[a-z])(?=\d)", " ", text.lower())  # "J3" are two
    return [GRID[4].get(one, one) if one.isdigit() else one for one in re.findall(r"[\w']+", spaced)]


def errors(said: str, heard: str) -> int:
    """Words that were put in, left out or taken for others: the edit distance."""
    right, row = words(said), list(range(len(words(said)) + 1))
    for word in words(heard):
        last, row[0] = row[0], row[0] + 1
        for place, other in enumerate(right, 1):
            last, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, last + (word != other))
    return row[-1]


if __name__ == "__main__":
    main()
