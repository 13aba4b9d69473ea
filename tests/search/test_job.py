"""What a search refuses before it starts anything."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from small_labels import FACE, write_labels
from tone_files import speech_targets

from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import SettingResult, write_result
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.training.config import TrainConfig
from liser_ray.teachers.targets import HeldOut


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labeled": ""}, "--labeled"),
        ({"unlabeled": ""}, "--unlabeled"),
        ({"recipe": "no-dstl"}, "Nothing to search"),
        ({"recipe": "sp-dstl", "space": ["loss.lambdas.face=1,2"]}, "no such field. There are loss.lambdas.speech, "),
        ({"first_folds": "0,7"}, "no fold 7"),
        ({"first_folds": "x"}, "--first_folds"),
        ({"space": ["train.labeled_per_batch=5,10"], "train": TrainConfig(batch_size=10)}, "labeled_per_batch is 10"),
        ({"space": ["loss.lambdas.speech=0.1..1"]}, "--method random"),
        ({"space": ["loss.lambdas.speech=1,-1"]}, "give 0 or more"),
        ({"survivors": 0.0}, "survivors"),
        ({"space": ["train.augment.noise=0,0.5"]}, "needs --network.normalisation speech"),
        ({"samples": 0}, "samples"),
        ({"space": ["train.truth=label,votes"]}, "tones has no votes for --train.truth votes"),
        ({"space": ["loss.penalty=0,1"]}, "tones has no votes for --loss.penalty"),
        ({"space": ["loss.heads=own,predicting"]}, "The teacher of face knows the labels .* give --loss.heads own"),
        ({"space": ["loss.lambdas.speech=-1..1"], "method": "tpe"}, "give 0 or more"),
    ],
)
def test_a_wrong_search_is_refused_before_it_starts(tones, tone_labels, tmp_path, changes, message):
    config = {"labeled": tones, "unlabeled": tone_labels, "output": str(tmp_path / "out"), **changes}
    with pytest.raises(UserError, match=message):
        search(SearchConfig(**config))
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_is_left_out_has_no_lambda_to_search(tones, tmp_path):
    face = replace(FACE, held_out=HeldOut(0.2, None))
    write_labels(tmp_path / "labels", rows=4, targets=(face, *speech_targets(tones)))
    config = SearchConfig(tones, str(tmp_path), str(tmp_path / "out"), min_teacher_uar=0.5)
    with pytest.raises(UserError, match=r"face is left out by min_teacher_uar.*--loss\.lambdas\.face 0"):
        search(config)


@pytest.mark.parametrize(
    ("changes", "space"),
    [
        ({"train": TrainConfig(batch_size=64)}, ["train.labeled_per_batch=16,32"]),  # the paper's batch has 25
        ({"network": NetworkConfig(pooling="mean")}, ["network.bidirectional=true,false"]),
        ({}, ["network.bidirectional=true", "network.pooling=mean,attention"]),
    ],
)
@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_values_are_looked_at_beside_the_others_that_are_given(changes, space, method):
    config = SearchConfig(labeled="a.csv", unlabeled="labels", space=space, method=method, **changes)
    with pytest.raises(UserError, match=r"a\.csv"):  # the first thing that is wrong
        search(config)


def test_a_list_without_labels_has_nothing_to_search_by(tones, tmp_path):
    rows = [*csv.DictReader(Path(tones).read_text().splitlines())]
    with (tmp_path / "rated.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "speaker", "arousal"))
        writer.writerows((Path(tones).parent / row["path"], row["speaker"], number) for number, row in enumerate(rows))
    space, loss = ["train.learning_rate=1e-3,2e-3"], LossConfig(attributes={"arousal": 1.0})
    config = SearchConfig(str(tmp_path / "rated.csv"), "", str(tmp_path / "out"), "no-dstl", space=space, loss=loss)
    with pytest.raises(UserError, match="no UAR to search by"):
        search(config)


def test_fewer_samples_than_there_are_would_forget_the_best(tones, tone_labels, tmp_path):
    out = str(tmp_path / "out")
    space = ["loss.lambdas.speech=0.1..1"]
    config = SearchConfig(tones, tone_labels, out, "sp-dstl", method="random", space=space, samples=2)
    for number in range(3):
        write_result(f"{out}/trials", SettingResult({"loss.lambdas.speech": 0.1 + number}, "done", "", [], [], 0.0))
    with pytest.raises(UserError, match=r"has 3 settings already.*--samples 3"):
        search(config)
