"""EmoDistill's student on a frozen encoder, with and without the prosodic teacher; see results/emodistill_encoder.md.

    python benchmarks/emodistill_encoder.py --base WHISPER --labeled ravdess:DIR --labels TABLE

TABLE is the output of label_corpus.py with --input as --labeled and prosody=prosody:out/prosody/fold-*. A line for each
training in results/emodistill_encoder.jsonl; what is there of that base, set and table, by their names, is not run
again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from liser_ray.corpora.folds import Fold, folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.finetuning.config import FinetuneConfig, TrainSettings
from liser_ray.finetuning.distillation import Said, heard_and_said, lesson
from liser_ray.finetuning.head import PIECES_S, FrozenSpeech, HeadTask, freeze
from liser_ray.finetuning.run import TeacherJob, new_training
from liser_ray.results.metrics import confusion_matrix
from liser_ray.results.records import FoldResult, Record
from liser_ray.results.scores import interval, paired_difference
from liser_ray.results.tables import interval_text
from liser_ray.runtime.display import Counting
from liser_ray.student.config import LossConfig
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.training.fit import ProcessGroup

RESULTS = Path(__file__).parent / "results/emodistill_encoder.jsonl"
SEARCH_SEED, SEEDS = 100, (0, 1)
WEIGHTS = (0.1, 0.3, 1.0)
ALONE = "alone"
WHOLE = PIECES_S.index(0.0)
OTHER_SIZE = 64


def main() -> None:
    """Search on selection speakers, then train both arms with all seeds, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--base", "--labeled", "--labels"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    labeled = read_labeled_set(options.labeled)
    speech, folds = load_labeled_speech(labeled), folds_of(labeled)
    size = next(one.embedding_size for one in open_labels_table(options.labels).targets.values())
    config = FinetuneConfig(
        base=options.base,
        recipe="emodistill-without-words",
        distil_labeled=options.labels,
        head_only=True,
        projections={"prosody": size, "words": OTHER_SIZE},
    )
    frozen = freeze(speech, np.arange(len(speech)), Path(options.base), "float32")
    arms = {ALONE: replace(config, recipe="no-dstl", distil_labeled="")}
    arms |= {f"α = β = {weight}": taught(config, weight) for weight in WEIGHTS}
    said = {name: heard_and_said(one, speech, folds)[1] for name, one in arms.items()}
    of = {"base": Path(options.base).name, "labeled": labeled.name, "labels": Path(options.labels).name}
    searched = [(name, fold, SEARCH_SEED) for name in arms for fold in folds]
    lines = run(searched, of, arms, said, frozen, speech)
    selection = {name: np.mean([line["selection_uar"] for line in of_arm(lines, name, SEARCH_SEED)]) for name in arms}
    for name, uar in selection.items():
        print(f"{name}: {uar:.4f} on selection speakers", flush=True)
    best = max((name for name in arms if name != ALONE), key=lambda name: selection[name])
    wanted = [(name, fold, seed) for name in (ALONE, best) for fold in folds for seed in SEEDS]
    lines = run(wanted, of, arms, said, frozen, speech)
    records = {
        name: [record(of_arm(lines, name, seed), name, seed, speech) for seed in SEEDS] for name in (ALONE, best)
    }
    for name, of_name in records.items():
        print(f"{name}: UAR {interval_text(interval(of_name, 'uar'))} of whole test recordings")
    print(f"difference {interval_text(paired_difference(records[best], records[ALONE], 'uar'))}")


def taught(config: FinetuneConfig, weight: float) -> FinetuneConfig:
    """With both terms of the teacher at this weight."""
    of_teacher = {"prosody": weight}
    return replace(config, loss=LossConfig(of_teacher, "kl", heads="predicting", embeddings=of_teacher))


def run(
    wanted: list[tuple[str, Fold, int]],
    of: dict[str, str],
    arms: dict[str, FinetuneConfig],
    said: dict[str, Said | None],
    frozen: FrozenSpeech,
    speech: LabeledSpeech,
) -> list[dict]:
    """Train what is not there yet of this base, set and table; all lines that are there of them then."""
    lines = map(json.loads, RESULTS.read_text().splitlines()) if RESULTS.exists() else ()
    known = [line for line in lines if of.items() <= line.items()]
    done = {(line["arm"], line["fold"], line["seed"]) for line in known}
    with RESULTS.open("a") as file, Counting("trainings", len(wanted)) as counting:
        for name, fold, seed in wanted:
            if (name, fold.index, seed) not in done:
                config = replace(arms[name], train=TrainSettings(learning_rate=2e-3, seed=seed))
                line = of | {"arm": name, "fold": fold.index, "seed": seed}
                line |= trained(config, said[name], fold, frozen, speech)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                known.append(line)
            counting.advance()
    return known


def trained(config: FinetuneConfig, said: Said | None, fold: Fold, frozen: FrozenSpeech, speech: LabeledSpeech) -> dict:
    """A training: its epoch, the UAR that chose it, and each test speaker's confusion of whole recordings."""
    job, group = TeacherJob(config.method(), fold, ""), ProcessGroup(torch.device("cpu"))
    split = job.split(speech)
    taught_by, sizes = lesson(config, said, fold), config.projections
    task = HeadTask(frozen, split, config.train, job.seed, group, lesson=taught_by, projections=sizes)
    training = new_training(job, task, group)
    training.run()
    whole = np.flatnonzero((frozen.kind == WHOLE) & np.isin(frozen.recording, split.test))
    with torch.inference_mode():
        softmax = task.model.eval()(torch.from_numpy(frozen.statistics[whole]).float()).softmax(1).numpy()
    total = np.zeros((len(speech), softmax.shape[1]))
    np.add.at(total, frozen.recording[whole], softmax)
    confusions = {}
    for speaker in sorted(fold.test, key=int):
        of = speech.of_speakers([speaker])
        confusions[speaker] = confusion_matrix(
            speech.label_index[of], total[of].argmax(axis=1), len(speech.labels)
        ).tolist()
    best = training.best
    return {"epoch": best.epoch, "selection_uar": round(best.validation_uar, 4), "confusions": confusions}


def of_arm(lines: list[dict], name: str, seed: int) -> list[dict]:
    """Of all folds."""
    return [line for line in lines if line["arm"] == name and line["seed"] == seed]


def record(lines: list[dict], name: str, seed: int, speech: LabeledSpeech) -> Record:
    """What the students of a seed said."""
    folds = []
    for line in lines:
        confusions = {speaker: np.array(counts, np.int64) for speaker, counts in line["confusions"].items()}
        folds.append(FoldResult(line["fold"], line["epoch"], 0, None, confusions))
    return Record(name, speech.name, speech.labels, seed, tuple(folds), speech.sexes, {})


if __name__ == "__main__":
    main()
