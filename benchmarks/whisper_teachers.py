"""Which pieces and settings a head on frozen Whisper learns best from, by the selection speakers of each fold.

    python benchmarks/whisper_teachers.py --base WHISPER --labeled ravdess:DIR

A line for each setting, fold and seed in results/whisper_teachers.jsonl; what is there of that base and set, by their
names, is not run again. Test speakers are not looked at. See results/whisper_teachers.md.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import load_labeled_speech
from liser_ray.finetuning.config import FinetuneConfig, TrainSettings
from liser_ray.finetuning.head import PIECES_S, HeadTask, freeze
from liser_ray.finetuning.run import TeacherJob, new_training
from liser_ray.finetuning.split import split_fold
from liser_ray.training.fit import ProcessGroup, run_seed

RESULTS = Path(__file__).parent / "results/whisper_teachers.jsonl"
SETTING = ("pieces", "learning_rate", "weight_decay", "seed", "fold")
KINDS = {"whole": (2,), "3 s": (1,), "0.5 s": (0,), "all": (0, 1, 2)}


def main() -> None:
    """Train every setting on every fold, and write the selection scores of the best epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--base", "--labeled"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    labeled = read_labeled_set(options.labeled)
    of = {"base": Path(options.base).name, "labeled": labeled.name}
    done = {tuple(line[name] for name in SETTING) for line in known(of)}
    speech, group = load_labeled_speech(labeled), ProcessGroup(torch.device("cpu"))
    frozen = freeze(speech, np.arange(len(speech)), Path(options.base), "float32")
    print(f"{frozen.statistics.shape} of pieces of {PIECES_S}", flush=True)
    grid = product(range(options.seeds), KINDS, (5e-4, 2e-3), (0.01, 1.0), folds_of(labeled))
    with RESULTS.open("a") as lines:
        for seed, pieces, learning_rate, weight_decay, fold in grid:
            if (pieces, learning_rate, weight_decay, seed, fold.index) in done:
                continue
            settings = TrainSettings(learning_rate=learning_rate, weight_decay=weight_decay, seed=seed)
            split = split_fold(speech, fold, settings.selection_share, settings.seed)
            task = HeadTask(frozen, split, settings, run_seed(seed, fold.index), group, KINDS[pieces])
            training = new_training(TeacherJob(FinetuneConfig(train=settings).method(), fold, ""), task, group)
            training.run()
            task.validate(task.model, "float32")
            best = training.best
            line = of | dict(zip(SETTING, (pieces, learning_rate, weight_decay, seed, fold.index), strict=True))
            line |= {"epoch": best.epoch, "epochs": len(training.history)}
            line |= {"uar": round(best.validation_uar, 4), "uars": [round(one, 4) for one in task.uars]}
            line["layers"] = [round(one, 2) for one in task.model.layers.softmax(0).tolist()]
            lines.write(json.dumps(line) + "\n")
            lines.flush()
    print(table(known(of)))


def known(of: dict[str, str]) -> list[dict]:
    """The lines of this base and set."""
    lines = map(json.loads, RESULTS.read_text().splitlines()) if RESULTS.exists() else ()
    return [line for line in lines if of.items() <= line.items()]


def table(lines: list[dict]) -> str:
    """Selection UAR of each setting, means over folds and seeds, as Markdown."""
    rows = [
        "| learns from | learning rate | weight decay | heard whole | 3 s | 0.5 s | mean |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for setting in dict.fromkeys(tuple(line[name] for name in SETTING[:3]) for line in lines):
        uars = np.mean([one["uars"] for one in lines if tuple(one[name] for name in SETTING[:3]) == setting], axis=0)
        pieces, learning_rate, weight_decay = setting
        cells = [f"{value:.3f}".lstrip("0") for value in (*uars[::-1], uars.mean())]
        rows.append(f"| {pieces} | {learning_rate} | {weight_decay} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
