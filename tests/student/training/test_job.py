"""The job from its settings to students and records, on tones that are files and a labels table of made-up teachers."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from small_labels import FACE, speech_target, write_labels
from small_training import ALONE
from tone_files import emodistill_targets, speakers_of, speech_targets, write_targets_of_tones, write_tone_labels
from tones import LABELS, make_tones

from liser_ray.__main__ import command
from liser_ray.commands.settings import parse_settings
from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import load_labeled_speech
from liser_ray.corpora.utterance import EVERYBODY
from liser_ray.evaluation.config import EvaluationConfig
from liser_ray.evaluation.job import evaluate
from liser_ray.evaluation.report import print_evaluation
from liser_ray.prediction.student import Student
from liser_ray.results.metrics import concordance_sums, confusion_matrix
from liser_ray.results.records import read_records
from liser_ray.results.scores import pooled
from liser_ray.results.tables import score_text
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.network import EmotionClassifier
from liser_ray.student.training.config import AugmentConfig, RunJob, StudentConfig, TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.job import check, make_inputs, train_students
from liser_ray.student.training.recipes import defaults_of
from liser_ray.student.training.report import print_result
from liser_ray.student.training.run import make_training
from liser_ray.teachers.targets import HeldOut, Target, TunedOn
from liser_ray.teachers.temperature import fit_temperature
from liser_ray.training.precision import able_precision

TRAIN = TrainConfig(epochs=3, batch_size=10, learning_rate=2e-3)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(tones, tone_labels, tmp_path_factory):
    output = tmp_path_factory.mktemp("students")
    config = StudentConfig(tones, tone_labels, str(output), train=TRAIN)
    return config, train_students(config)


def test_a_student_for_each_fold_and_a_record_of_their_scores(trained):
    config, result = trained
    assert result.trained == ("seed-0-fold-0", "seed-0-fold-1")
    (record,) = read_records(f"{config.output}/records")
    assert (record.recipe, record.labeled, record.labels, record.seed) == (
        "conf-vid-sp-dstl",
        "tones",
        tuple(sorted(LABELS)),
        0,
    )
    assert [list(fold.confusions) for fold in record.folds] == [speakers_of(0), speakers_of(1)]
    assert sum(counts.sum() for counts in record.confusions.values()) == 24
    recipe = record.content["recipe"]
    assert recipe["data"]["unlabeled"]["rows"] > 0
    assert recipe["data"]["teachers"]["1"]["speech"]["tuned_on"]["fold"] == 1
    assert recipe["data"]["trusted"] == ["face"]
    assert recipe["loss"]["lambdas"] == {"speech": 1.0, "face": 1.0}
    assert recipe["loss"]["confidence"] == "raw"
    (machine,) = record.content["machines"]
    able = able_precision(torch.device("cpu"), "auto")
    assert (machine["threads"], machine["precision"]) == (torch.get_num_threads(), able)
    assert machine["cpu"]
    assert len(recipe["data"]["labeled"]["sha256"]) == 64


def test_its_weights_give_its_scores(trained, tones):
    config, _ = trained
    folder = Path(config.output, "seed-0-fold-1")
    card = json.loads((folder / "student.json").read_text())
    assert card["parameters"]["inference"] == sum(p.numel() for p in EmotionClassifier(3).parameters())
    assert {name: one["name"] for name, one in card["teachers"].items()} == {"speech": "speech_fold_1", "face": "face"}
    assert (card["trusted"], card["epoch_steps"]) == (["face"], 2)
    classifier = EmotionClassifier(len(card["labels"]))
    classifier.load_state_dict(safetensors.torch.load_file(folder / "student.safetensors"))
    speech = load_labeled_speech(read_labeled_set(tones))
    for speaker, counts in card["confusions"].items():
        recordings = EvaluationSet(speech, speech.of_speakers([speaker]), "none", torch.device("cpu"))
        predicted = recordings.logits(classifier.eval()).argmax(axis=1)
        np.testing.assert_array_equal(confusion_matrix(recordings.truth, predicted, 3), counts)
    files = {path.name for path in folder.iterdir()}  # no checkpoint is left
    assert files == {"curves.png", "tensorboard", "student.json", "student.safetensors", "validation.safetensors"}


def test_a_temperature_is_of_speakers_whom_the_student_is_not_tested_on(trained, tones):
    """Fitted to what all folds' students say of their validation speakers; by hand, from the weights."""
    config, _ = trained
    folders = sorted(Path(config.output).glob("seed-0-fold-*"))
    cards = [json.loads((folder / "student.json").read_text()) for folder in folders]
    speech = load_labeled_speech(read_labeled_set(tones))
    for card in cards:
        logits, truth = [], []
        for other, folder in zip(cards, folders, strict=True):
            classifier = EmotionClassifier(len(other["labels"]))
            classifier.load_state_dict(safetensors.torch.load_file(folder / "student.safetensors"))
            speakers = set(other["speakers"]["validation"]) - set(card["speakers"]["test"])
            if speakers:
                recordings = EvaluationSet(speech, speech.of_speakers(speakers), "none", torch.device("cpu"))
                logits.append(recordings.logits(classifier.eval()))
                truth.append(recordings.truth)
        expected = fit_temperature(np.concatenate(logits), np.concatenate(truth))
        assert card["temperature"] == pytest.approx(expected, rel=0.01)
        assert card["temperature_recordings"] == sum(map(len, truth))


def test_the_same_command_again_does_nothing_and_other_settings_are_refused(trained):
    config, result = trained
    again = train_students(config)
    assert again.trained == ()
    np.testing.assert_equal(again.records[0].confusions, result.records[0].confusions)
    with pytest.raises(UserError, match=r"loss\.lambdas\.face: was 1\.0, is now 5\.0"):
        train_students(replace(config, loss=LossConfig({"face": 5.0})))


def test_a_student_with_chunks_and_its_onnx_file_say_of_recordings_what_its_record_says(tones, tone_labels, tmp_path):
    config = StudentConfig(tones, tone_labels, str(tmp_path), recipe="sp-dstl", folds="1", train=TRAIN)
    (record,) = train_students(replace(config, network=NetworkConfig(chunks=4))).records
    assert record.recipe == "sp-dstl+4-chunks"
    student = Student.from_pretrained(tmp_path / "seed-0-fold-1")
    exported = Student.from_onnx(student.export_onnx(), "student.onnx")
    speech = load_labeled_speech(read_labeled_set(tones))
    for speaker, counts in record.confusions.items():
        rows = speech.of_speakers([speaker])
        for one in (student, exported):
            said = [student.labels.index(one.predict(speech.waveform(int(i)), 16_000).label) for i in rows]
            np.testing.assert_array_equal(confusion_matrix(speech.label_index[rows], np.array(said), 3), counts)


def test_folds_and_seeds_may_come_one_by_one(tones, tone_labels, tmp_path):
    config = StudentConfig(tones, tone_labels, str(tmp_path), recipe="sp-dstl", train=replace(TRAIN, epochs=1))
    names = []
    for folds, seeds in (("0", "0"), ("1", "0"), ("0", "0,7")):
        result = train_students(replace(config, folds=folds, seeds=seeds))
        names.append([(record.seed, fold.fold) for record in result.records for fold in record.folds])
    assert names == [[(0, 0)], [(0, 0), (0, 1)], [(0, 0), (0, 1), (7, 0)]]
    assert result.trained == ("seed-7-fold-0",)


def test_everything_may_lie_on_s3(trained, tones, tone_labels, s3_store):
    config, result = trained
    bucket = s3_store.bucket()
    for folder, key in ((Path(tones).parent, "tones"), (Path(tone_labels), "table/labels")):
        for path in folder.iterdir():
            s3_store.client.upload_file(str(path), bucket, f"{key}/{path.name}")
    there = replace(
        config,
        labeled=f"s3://{bucket}/tones/tones.csv",
        unlabeled=f"s3://{bucket}/table",
        output=f"s3://{bucket}/students",
        folds="0",
        checkpoint_every_s=0,
    )
    (record,) = train_students(there).records
    for speaker, counts in record.confusions.items():
        np.testing.assert_array_equal(counts, result.records[0].confusions[speaker])
    found = s3_store.client.list_objects_v2(Bucket=bucket, Prefix="students/")["Contents"]
    keys = [one["Key"] for one in found if not one["Key"].endswith("/")]  # pyarrow's marks of folders
    names = {key.partition("/")[2].partition("events")[0] for key in keys}
    run = "seed-0-fold-0"
    files = {"curves.png", "student.json", "student.safetensors", "validation.safetensors", "tensorboard/"}
    assert names == {"run.json", "records/tones-conf-vid-sp-dstl-seed-0.json", *(f"{run}/{name}" for name in files)}
    assert train_students(there).trained == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "no-dstl", "unlabeled": ""},
        {"network": NetworkConfig(pooling="attention", normalisation="utterance", dropout=0.2)},
        {
            "network": NetworkConfig(normalisation="corpus"),
            "loss": LossConfig(confidence="calibrated"),
            "train": replace(TRAIN, augment=AugmentConfig(speeds=(0.9, 1.1))),
        },
        {
            "recipe": "strong-sp-dstl",
            "network": NetworkConfig("mean", "utterance-mean", filters=(4, 4, 4), hidden_size=4, bidirectional=True),
        },
        {"train": replace(TRAIN, labeled_fraction=0.5, labeled_per_batch=4)},
        {"train": replace(TRAIN, two_stage=True), "recipe": "sp-dstl"},
        {"train": replace(TRAIN, placebo=True), "recipe": "vid-dstl", "loss": LossConfig(distillation="kl")},
        {"train": replace(TRAIN, epoch_steps=3), "recipe": "no-dstl"},
        {"loss": LossConfig({"speech": 0.0}, "mae-sum")},
    ],
)
def test_variants_train(tones, tone_labels, tmp_path, changes):
    plain = StudentConfig(tones, tone_labels, str(tmp_path), folds="1", train=TRAIN)
    result = train_students(replace(plain, **changes))
    (record,) = result.records
    assert [fold.fold for fold in record.folds] == [1]
    history = json.loads((tmp_path / "seed-0-fold-1/student.json").read_text())["history"]
    assert all(np.isfinite(score["loss"]) for score in history)


@pytest.fixture
def voted_tones(tones, tmp_path):
    """The manifest of the tones with votes for each label, of half of the recordings, and arousal, of most of them."""
    with Path(tones).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        row["path"] = str(Path(tones).parent / row["path"])
        votes = np.roll([3, 1, 0], LABELS.index(row["label"])) if i % 2 else [""] * 3
        row |= dict(zip((f"votes.{one}" for one in LABELS), votes, strict=True))
        row["arousal"] = 3 + LABELS.index(row["label"]) if i % 5 else ""
    path = tmp_path / "voted.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


class TestVotes:
    TRAIN = replace(TRAIN, truth="votes")

    def test_a_student_of_votes_is_scored_by_label(self, voted_tones, tmp_path):
        settings = {"recipe": "no-dstl", "folds": "1", "train": self.TRAIN, "loss": LossConfig(penalty=1.0)}
        config = StudentConfig(voted_tones, output=str(tmp_path / "out"), **settings)
        result = train_students(config)
        assert result.name == result.records[0].recipe == "no-dstl+votes+penalty"
        history = json.loads((tmp_path / "out/seed-0-fold-1/student.json").read_text())["history"]
        assert all(score["penalty"] > 0 for score in history)
        assert np.sum([*result.records[0].confusions.values()]) == 12
        text = Path(voted_tones).read_text()
        Path(voted_tones).write_text(text.replace(",3", ",4"))
        with pytest.raises(UserError, match=r"data\.labeled\.votes: was"):
            train_students(config)

    def test_a_set_without_votes_is_refused(self, tones, tmp_path):
        config = StudentConfig(tones, output=str(tmp_path), recipe="no-dstl", train=self.TRAIN)
        with pytest.raises(UserError, match=r"tones has no votes for --train.truth votes: give a list with columns"):
            check(config)
        with pytest.raises(UserError, match=r"tones has no votes for --loss.penalty"):
            check(replace(config, train=TRAIN, loss=LossConfig(penalty=1.0)))


class TestClusters:
    @pytest.fixture
    def config(self, tones, tone_labels, tmp_path):
        output = str(tmp_path / "out")
        loss = LossConfig(clusters=3)
        return StudentConfig(
            tones, tone_labels, output, "no-dstl", folds="1", train=replace(TRAIN, epochs=2), loss=loss
        )

    def test_pseudo_labels_need_no_teacher_and_are_of_the_table_too(self, config):
        assert train_students(config).name == "no-dstl+3-clusters"
        folder = Path(config.output, "seed-0-fold-1")
        card = json.loads((folder / "student.json").read_text())
        assert card["n_recordings"]["unlabeled"] > 0
        assert card["teachers"] == {}
        assert all(score["clusters"] > 0 for score in card["history"])
        EmotionClassifier(3).load_state_dict(safetensors.torch.load_file(folder / "student.safetensors"))

    def test_a_streamed_table_and_more_clusters_than_recordings_are_refused(self, config):
        with pytest.raises(
            UserError, match=r"too large to be held in memory, which loss\.clusters needs: give --memory_gb"
        ):
            check(replace(config, memory_gb=0.0))
        with pytest.raises(UserError, match=r"loss\.clusters is 999, and fold 1 learns from \d+ recordings"):
            check(replace(config, loss=LossConfig(clusters=999)))
        with pytest.raises(UserError, match="mixture"):
            replace(config, train=TrainConfig(augment=AugmentConfig(mixup_alpha=0.2)))


class TestAttributes:
    LOSS = LossConfig(attributes={"arousal": 1.0, "power": 0.0})

    @pytest.fixture
    def config(self, voted_tones, tmp_path):
        train = replace(TRAIN, epochs=10, learning_rate=5e-3)
        config = StudentConfig(voted_tones, output=str(tmp_path / "out"), recipe="no-dstl", train=train, loss=self.LOSS)
        return replace(config, precision="float32")  # in which it predicts

    def test_they_are_learned_beside_labels_and_scored_by_concordance(self, config, capsys):
        result = train_students(config)
        assert result.name == "no-dstl+arousal"
        cards = [json.loads(Path(config.output, f"seed-0-fold-{k}/student.json").read_text()) for k in (0, 1)]
        (record,) = read_records(f"{config.output}/records")
        rows = [*csv.DictReader(Path(config.labeled).read_text().splitlines())]
        for card, fold in zip(cards, record.folds, strict=True):
            facts = card["attributes"]["arousal"]
            assert -1 <= facts["validation_ccc"] <= 1
            assert sum(of[0] for of in facts["test"].values()) == sum(
                i % 5 > 0 for i in range(24) if i // 3 % 2 == fold.fold
            )
            assert card["history"][-1]["arousal"] < 0.8 * card["history"][0]["arousal"]
            np.testing.assert_equal({"arousal": fold.attributes["arousal"]}, {"arousal": facts["test"]})
            student = Student.from_pretrained(f"{config.output}/seed-0-fold-{fold.fold}")
            said = [  # of the recordings of the test speakers whose arousal is known
                (float(row["arousal"]), student.predict_file(row["path"]).attributes["arousal"])
                for row in rows
                if row["speaker"] in facts["test"] and row["arousal"]
            ]
            sums = concordance_sums(*np.array(said).T)
            np.testing.assert_allclose(np.sum([*facts["test"].values()], axis=0), sums, rtol=1e-4)
        assert record.concordances["arousal"] > 0.3  # 0 by chance
        print_result(result)
        assert (
            f"arousal: CCC {score_text(record.concordances['arousal'])} on the test speakers" in capsys.readouterr().out
        )
        Path(config.labeled).write_text(Path(config.labeled).read_text().replace(",5", ",6"))
        with pytest.raises(UserError, match=r"data\.labeled\.attributes\.arousal: was"):
            train_students(config)

    def test_beside_a_table_so_large_that_no_batch_has_several_of_them_it_is_refused(self, config, tmp_path):
        table = write_tone_labels(tmp_path / "labels", config.labeled, rows=300)
        few = replace(config, recipe="sp-dstl", unlabeled=table)
        with pytest.raises(UserError, match=r"give --train\.labeled_per_batch 5"):
            check(few)
        check(replace(few, train=replace(few.train, labeled_per_batch=5)))

    def test_without_labels_they_alone_are_learned_pick_the_epoch_and_are_said(self, config, tmp_path, capsys):
        rows = [*csv.DictReader(Path(config.labeled).read_text().splitlines())]
        kept = [{name: row[name] for name in ("path", "speaker", "arousal")} for row in rows]
        with (tmp_path / "rated.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, kept[0])
            writer.writeheader()
            writer.writerows(kept)
        result = train_students(replace(config, labeled=str(tmp_path / "rated.csv")))
        (record,) = result.records
        assert record.concordances["arousal"] > 0.3  # 0 by chance
        for fold in (0, 1):
            card = json.loads(Path(config.output, f"seed-0-fold-{fold}/student.json").read_text())
            validation = [score["validation_loss"] for score in card["history"]]
            assert card["best_epoch"] == 1 + np.argmin(validation)
            assert min(validation) == pytest.approx(1 - card["attributes"]["arousal"]["validation_ccc"], abs=1e-3)
            assert card["history"][0]["supervised"] == 0
            assert "temperature" not in card
        print_result(result)
        printed = capsys.readouterr().out
        assert "arousal: CCC" in printed
        assert "UAR" not in printed
        assert record.folds[0].validation_uar is None
        with pytest.raises(SystemExit):
            command(["predict", "--model", config.output, "--csv", rows[0]["path"]])
        (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
        assert [*row] == ["file", "start_s", "end_s", "arousal", "unlike_training", "error"]
        assert 1 < float(row["arousal"]) < 7
        evaluated = evaluate(EvaluationConfig(config.output, str(tmp_path / "rated.csv"), str(tmp_path / "scores")))
        assert evaluated.content["conditions"]["recorded"]["ccc"]["arousal"] == pytest.approx(
            record.concordances["arousal"], abs=1e-3
        )
        print_evaluation(evaluated.content, "scores")
        printed = capsys.readouterr().out
        assert "CCC arousal" in printed
        assert "UAR" not in printed

    @pytest.mark.parametrize("name", ["valence", "label"])
    def test_a_column_that_is_not_there_or_has_no_numbers(self, config, name):
        with pytest.raises(UserError, match=r"column valence|has label '\w+'. Write a number"):
            check(replace(config, loss=LossConfig(attributes={name: 1.0})))

    def test_not_of_mixed_recordings(self, config):
        with pytest.raises(UserError, match="mixture"):
            replace(config, train=TrainConfig(augment=AugmentConfig(mixup_alpha=0.2)))


@pytest.fixture(scope="module")
def targets_of_tones(tones, tmp_path_factory):
    """A labels table of the labeled tones."""
    return write_targets_of_tones(tmp_path_factory.mktemp("targets_of_tones"), tones)


class TestOwnRecordings:
    """An unlabeled table that has recordings of the labeled set too."""

    def config(self, tones, folder, **settings):
        speech = load_labeled_speech(read_labeled_set(tones))
        mine = [(f"moved/{i}.wav", 0.0, speech.waveform(i)) for i in range(len(speech))]
        part_of_file = [(speech.uris[3], 1.0, speech.waveform(3)[:20_000])]
        strangers = [(f"{k}.wav", 0.0, make_tones("z", 1, 2, 3, seed=k).waveform(0)) for k in (50, 51)]
        sounds = [*mine, *part_of_file, *strangers]
        write_labels(folder, sounds=sounds, targets=speech_targets(tones), seed=1)
        config = StudentConfig(tones, str(folder), str(folder / "out"), "sp-dstl", folds="0,1", train=TRAIN)
        return replace(config, **settings), speech

    def test_nobody_is_heard_whom_the_student_is_scored_on(self, tones, tmp_path, caplog):
        config, speech = self.config(tones, tmp_path)
        with caplog.at_level("INFO"):
            inputs = make_inputs(config, check(config))
        assert (
            "25 rows are recordings of tones; those of speakers on whom a student is scored are not heard"
            in caplog.text
        )
        for number, fold in inputs.folds.items():
            rows, uris = inputs.unlabeled_rows(number), pq.read_table(tmp_path, columns=["uri"])["uri"].to_pylist()
            allowed = [i for i in range(len(speech)) if speech.speakers[i] in fold.train]
            wanted = {f"moved/{i}.wav" for i in allowed} | {"50.wav", "51.wav"}
            wanted |= {speech.uris[3]} if 3 in allowed else set()
            assert {uris[row] for row in rows} == wanted
            task = make_training(RunJob(config, number, 0, ""), inputs, ALONE).task
            assert task._unlabeled.n_rows == len(wanted)

    def test_all_are_heard_by_one_who_is_scored_on_nobody(self, tones, tmp_path):
        config, _ = self.config(tones, tmp_path, folds="none")
        checked = check(config)
        assert len(checked.unlabeled_rows(EVERYBODY)) == checked.table.n_rows

    def test_a_table_that_is_streamed_is_refused(self, tones, tmp_path):
        config, _ = self.config(tones, tmp_path, memory_gb=0)
        with pytest.raises(UserError, match=r"recordings of speakers on whom .* --memory_gb 1 or more"):
            check(config)


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_what_is_said_of_unlabeled_recordings_is_brought_to_the_labels_frequencies(
    weights, tones, tone_labels, tmp_path
):
    train = replace(TRAIN, align=True, class_weights=weights, labeled_fraction=0.5)
    config = StudentConfig(tones, tone_labels, str(tmp_path), recipe="vid-sp-dstl", folds="1", train=train)
    inputs = make_inputs(config, checked := check(config))
    assert checked.name.startswith("vid-sp-dstl+aligned")
    task = make_training(RunJob(config, 1, 0, ""), inputs, ALONE).task
    (name,) = task._unlabeled.alignments  # faces have other labels
    windows = inputs.recordings.windows[inputs.targets[1][name].name]
    n_of = np.bincount(inputs.speech.label_index[task.labeled.train], minlength=len(LABELS))
    wanted = n_of / n_of.sum() if weights == "none" else np.full(len(LABELS), 1 / len(LABELS))
    expected = wanted / windows.values[windows.counted].mean(axis=0)
    np.testing.assert_allclose(task._unlabeled.alignments[name], expected, rtol=1e-5)
    plain = make_training(RunJob(replace(config, train=replace(train, align=False)), 1, 0, ""), inputs, ALONE).task
    for one, other in zip(task.steps(1), plain.steps(1), strict=True):
        ours, theirs = (of.parts[0].targets.by_name for of in (one, other))
        factors = torch.where(theirs[name].valid, 1.0, 0.0)[:, None] * task._unlabeled.alignments[name]
        np.testing.assert_allclose(
            ours[name].values,
            torch.nan_to_num(theirs[name].values * factors / (theirs[name].values * factors).sum(dim=1, keepdim=True)),
            rtol=1e-5,
        )
        assert torch.equal(ours["face"].values, theirs["face"].values)


class TestDistilLabeled:
    def train(self, tones, table, output, **settings):
        config = StudentConfig(tones, output=str(output), distil_labeled=table, folds="1", train=TRAIN)
        result = train_students(replace(config, **settings))
        return result, json.loads((output / "seed-0-fold-1/student.json").read_text())

    def test_beside_unlabeled_recordings_and_without_them(self, tones, tone_labels, targets_of_tones, tmp_path):
        result, card = self.train(tones, targets_of_tones, tmp_path / "both", unlabeled=tone_labels)
        assert result.name == card["recipe"] == "conf-vid-sp-dstl+distil-labeled"
        assert card["facts"]["recipe"]["data"]["distil_labeled"]["rows"] == 24
        assert list(card["teachers"]) == ["speech", "face"]  # of the labeled ones nobody has seen a face
        n_labeled, n_unlabeled = card["n_recordings"]["train"], card["n_recordings"]["unlabeled"]
        assert card["history"][0]["without_face"] >= n_labeled / (n_labeled + n_unlabeled)
        result, card = self.train(tones, targets_of_tones, tmp_path / "alone", recipe="sp-dstl")
        assert result.name == "sp-dstl+distil-labeled-only"
        assert card["teachers"]["speech"]["name"] == "speech_fold_1"
        assert (card["n_recordings"]["unlabeled"], card["history"][0]["without_speech"]) == (0, 0)
        assert all(score["speech"] > 0 for score in card["history"])

    def test_with_speeds_and_recordings_that_have_no_row(self, tones, tmp_path, caplog):
        speech = load_labeled_speech(read_labeled_set(tones))
        sounds = [("x.wav", 0.0, speech.waveform(i)) for i in range(20)]
        table = write_targets_of_tones(tmp_path / "labels", tones, sounds=sounds)
        train = replace(TRAIN, augment=AugmentConfig(speeds=(0.8, 1.0, 1.2)))
        with caplog.at_level("INFO"):
            _, card = self.train(tones, table, tmp_path / "out", recipe="sp-dstl", train=train)
        assert "tones: teachers say something of 20 recordings, of 4 nothing" in caplog.text
        heard = speech.of_speakers(card["speakers"]["train"])
        assert card["history"][0]["without_speech"] == pytest.approx(np.mean(heard >= 20))

    def test_a_teacher_that_has_heard_the_test_speakers(self, tones, tmp_path, targets_of_tones, tone_labels):
        leaky = speech_target("speech_fold_1", LABELS, 1, speakers_of(1), "tones")
        table = write_targets_of_tones(tmp_path / "labels", tones, targets=[leaky])
        for settings in ({"recipe": "sp-dstl"}, {"unlabeled": tone_labels}):
            with pytest.raises(UserError, match="was tuned on speakers b, d, f, h of tones"):
                self.train(tones, table, tmp_path / "out", **settings)

    def test_other_teachers_than_of_the_unlabeled_recordings(self, tones, tone_labels, tmp_path):
        other = [replace(one, sha256="9" * 64) for one in speech_targets(tones)]
        table = write_targets_of_tones(tmp_path / "labels", tones, targets=other)
        with pytest.raises(UserError, match="of another teacher"):
            self.train(tones, table, tmp_path / "out", unlabeled=tone_labels)

    def test_a_table_of_other_recordings(self, tones, tone_labels, tmp_path):
        with pytest.raises(UserError, match="no row of a recording of tones"):
            self.train(tones, tone_labels, tmp_path / "out")

    @pytest.mark.parametrize(
        ("word", "train"),
        [
            ("mixture", TrainConfig(augment=AugmentConfig(mixup_alpha=0.2))),
            ("two_stage", TrainConfig(two_stage=True)),
            ("placebo", TrainConfig(placebo=True)),
        ],
    )
    def test_what_does_not_go_with_it(self, word, train):
        with pytest.raises(UserError, match=word):
            StudentConfig(distil_labeled="labels", train=train)


class TestEmoDistill:
    """Two teachers with embeddings, of the labeled recordings and of others; the strong student is the paper's here."""

    @pytest.fixture(scope="class")
    def recipe(self, tmp_path_factory):
        file = tmp_path_factory.mktemp("recipe") / "emodistill.yaml"
        both = "{prosody: 1, words: 2}"
        file.write_text(f"loss: {{heads: predicting, distillation: kl, lambdas: {both}, embeddings: {both}}}")
        return str(file)

    @pytest.fixture(scope="class")
    def of_tones(self, tones, tmp_path_factory):
        folder = tmp_path_factory.mktemp("emodistill_targets")
        return write_targets_of_tones(folder, tones, targets=emodistill_targets(tones))

    @pytest.fixture(scope="class")
    def of_others(self, tones, tmp_path_factory):
        folder = tmp_path_factory.mktemp("emodistill_labels")
        write_labels(folder, rows=12, targets=emodistill_targets(tones), lengths_s=(2.0, 5.0), rows_per_group=4)
        return str(folder)

    @pytest.fixture
    def config(self, tones, recipe, of_tones, tmp_path):
        def made(name="out", loss=None, **settings):
            given = {"recipe": recipe, "distil_labeled": of_tones, "folds": "1", "train": TRAIN} | settings
            loss = {"distillation": "kl", "heads": "predicting", "embedding_size": 4} | (loss or {})
            return StudentConfig(tones, output=str(tmp_path / name), loss=LossConfig(**loss), **given)

        return made

    @pytest.fixture
    def train(self, config, tmp_path):
        def trained(name="out", **settings):
            result = train_students(config(name, **settings))
            folder = tmp_path / name / "seed-0-fold-1"
            return result.name, json.loads((folder / "student.json").read_text()), folder

        return trained

    def test_it_learns_softmaxes_and_embeddings_of_both_teachers(self, train, of_others):
        for name, unlabeled in (("emodistill+distil-labeled-only", ""), ("emodistill+distil-labeled", of_others)):
            found, card, _ = train(name, unlabeled=unlabeled)
            assert found == name
            assert {one: target["name"] for one, target in card["teachers"].items()} == {
                "prosody": "prosody_fold_1",
                "words": "words_fold_1",
            }
            for score in card["history"]:
                assert score["without_prosody"] == score["without_words"] == 0
                assert score["prosody"] > 0 < score["words"]
            last = card["history"][-1]
            assert last["words.embedding"] < card["history"][0]["words.embedding"]
            assert last["words.embedding"] >= -2
            assert last["prosody.embedding"] >= -1

    def test_projections_are_dropped_and_softmaxes_have_no_head_of_their_own(self, train):
        _, card, folder = train()
        sizes = card["parameters"]
        assert sizes["inference"] == sum(p.numel() for p in EmotionClassifier(3).parameters())
        assert sizes["training"] - sizes["inference"] == 2 * (64 * 32 + 32 + 32 * 4 + 4)
        weights = safetensors.torch.load_file(folder / "student.safetensors")
        assert weights.keys() == EmotionClassifier(3).state_dict().keys()

    def test_with_weights_of_0_it_is_byte_for_byte_the_student_of_labels_alone(self, train):
        nothing = {"lambdas": {"prosody": 0.0, "words": 0.0}, "embeddings": {"prosody": 0.0, "words": 0.0}}
        _, card, folder = train(loss=nothing)
        assert card["recipe"] == "emodistill+no-prosody+no-words"
        _, _, alone = train("alone", recipe="no-dstl", distil_labeled="")
        files = [(one / "student.safetensors").read_bytes() for one in (folder, alone)]
        assert files[0] == files[1]

    def test_what_is_left_out_is_in_the_name(self, train):
        found, card, _ = train(loss={"lambdas": {"prosody": 0.0}, "embeddings": {"words": 0.0}})
        assert found == "emodistill+no-prosody-logits+no-words-embedding+distil-labeled-only"
        assert {"prosody.embedding", "words"} <= card["history"][0].keys()
        assert {"prosody", "words.embedding"}.isdisjoint(card["history"][0])

    @pytest.mark.parametrize("option", ["distil_labeled", "unlabeled"])
    def test_no_embedding_of_a_validation_or_test_speaker_decides_on_the_axes(self, config, of_tones, option):
        wanted = config(**{"distil_labeled": "", option: of_tones})
        inputs, rng = make_inputs(wanted, check(wanted)), np.random.default_rng(0)
        fold = inputs.folds[1]

        def axes(speakers=frozenset()):
            """With other embeddings of these speakers."""
            changed = np.isin(inputs.speech.speakers, [*speakers])
            windows = {
                name: replace(one, values=np.where(changed[:, None], rng.normal(size=one.values.shape), one.values))
                for name, one in (inputs.labeled_windows or inputs.recordings.windows).items()
            }
            changes = {"labeled_windows": windows}
            if inputs.recordings:
                changes = {"recordings": replace(inputs.recordings, windows=windows)}
            training = make_training(RunJob(wanted, 1, 0, ""), replace(inputs, **changes), ALONE)
            return torch.cat([one.axes.flatten() for one in training.task._reductions.values()])

        assert torch.equal(axes(fold.validation | fold.test), axes())
        assert not torch.equal(axes(fold.train), axes())

    def test_a_teacher_at_chance_is_named_and_with_the_gate_left_out(self, config, tones, tmp_path, caplog):
        uars = {"prosody": HeldOut(0.35, None), "words": HeldOut(0.7, None)}
        targets = [replace(one, held_out=uars[one.teacher]) for one in emodistill_targets(tones)]
        table = write_targets_of_tones(tmp_path / "judged", tones, targets=targets)
        assert check(config(distil_labeled=table)).name == "emodistill+distil-labeled-only"
        assert "teacher of prosody_fold_1 is hardly better than chance (0.333)" in caplog.text
        checked = check(config(distil_labeled=table, gate=True))
        assert checked.name == "emodistill+no-prosody+distil-labeled-only"
        assert list(checked.targets[1]) == ["words"]
        assert checked.recipe.loss(LossConfig()).taught == ("words",)

    @pytest.mark.parametrize("teacher", ["prosody", "words"])
    @pytest.mark.parametrize("fold", [0, 1])
    def test_either_teacher_that_has_heard_a_folds_test_speakers_is_refused(
        self, config, tones, tmp_path, teacher, fold
    ):
        def leaky(one):
            is_it = one.name == f"{teacher}_fold_{fold}"
            return replace(one, tuned_on=replace(one.tuned_on, heard=tuple(speakers_of(fold)))) if is_it else one

        table = write_targets_of_tones(tmp_path / "leaky", tones, targets=[*map(leaky, emodistill_targets(tones))])
        refused = f"teacher of {teacher}_fold_{fold} was tuned on speakers {', '.join(speakers_of(fold))} of tones"
        for settings in ({"distil_labeled": table}, {"distil_labeled": "", "unlabeled": table}):
            with pytest.raises(UserError, match=refused):
                check(config(folds=str(fold), **settings))
            check(config(folds=str(1 - fold), **settings))  # whose own teachers have not

    def test_a_table_without_embeddings_and_teachers_of_other_labels(self, config, tones, tmp_path):
        targets = emodistill_targets(tones)
        without = [replace(one, embedding_size=0) for one in targets]
        table = write_targets_of_tones(tmp_path / "without", tones, targets=without)
        with pytest.raises(UserError, match=r"no embedding of prosody_fold_0: .*--loss\.embeddings\.prosody 0"):
            check(config(distil_labeled=table))
        others = [
            replace(FACE, name=name, tuned_on=TunedOn("", 0, ()), embedding_size=3) for name in ("prosody", "words")
        ]
        table = write_targets_of_tones(tmp_path / "others", tones, targets=others)
        with pytest.raises(UserError, match=r"but the head that predicts has high, low, middle: .*--loss\.heads own"):
            check(config(distil_labeled=table))


@pytest.mark.soak
def test_killed_and_started_again_it_is_as_if_never_stopped(tones, tone_labels, tmp_path):
    command = [sys.executable, "jobs/train_student.py", "--labeled", tones, "--unlabeled", tone_labels, "--folds", "0"]
    command += ["--train.epochs", "30", "--train.batch_size", "10", "--checkpoint_every_s", "0"]

    def start(output):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*command, "--output", str(output)], cwd=ROOT, env=environment, text=True)

    state = tmp_path / "killed/seed-0-fold-0/state.pt"
    process = start(tmp_path / "killed")
    while not state.exists() or len(torch.load(state, weights_only=True)["history"]) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_before = len(torch.load(state, weights_only=True)["history"])
    assert 3 <= n_before < 30
    again, whole = start(tmp_path / "killed"), start(tmp_path / "whole")
    assert (again.wait(), whole.wait()) == (0, 0)
    weights = [(tmp_path / name / "seed-0-fold-0/student.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_on_ray_and_streamed_it_is_the_same_student(tones, tone_labels, targets_of_tones, tmp_path, ray_session):
    torch.set_num_threads(1)  # as a worker of one CPU has: other sums may turn the first steps of a weight around
    config = StudentConfig(tones, tone_labels, str(tmp_path / "here"), folds="0", train=replace(TRAIN, align=True))
    config = replace(config, distil_labeled=targets_of_tones)
    there = replace(config, output=str(tmp_path / "there"), workers=1, cpus_per_worker=1, memory_gb=0)
    weights = []
    for one in (config, there):
        train_students(one)
        weights.append(safetensors.torch.load_file(Path(one.output, "seed-0-fold-0/student.safetensors")))
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-4)


def test_a_target_of_any_other_name_and_kind_reaches_the_loss(tones, tmp_path):
    """What it takes is a column of the table and a λ in a recipe."""
    energy = Target("energy", "scalar", ("dB",), 1.0, 0.5, "2" * 64, "energy", tuned_on=TunedOn("", 0, ()))
    write_labels(tmp_path / "labels", rows=12, targets=(energy,), lengths_s=(2.0, 5.0))
    recipe = tmp_path / "pretext.yaml"
    recipe.write_text("loss: {lambdas: {energy: 1}}")
    cards = []
    for name, loss in (("one", LossConfig()), ("nine", LossConfig({"energy": 9.0}))):
        config = StudentConfig(tones, str(tmp_path), str(tmp_path / name), str(recipe), folds="0", train=TRAIN)
        assert train_students(replace(config, loss=loss)).name == "pretext"
        cards.append(json.loads((tmp_path / name / "seed-0-fold-0/student.json").read_text()))
    assert cards[0]["teachers"]["energy"]["labels"] == ["dB"]
    assert cards[0]["trusted"] == []  # it has heard nobody, and says so
    assert all(score["energy"] > 0 == score["without_energy"] for score in cards[0]["history"])
    assert cards[1]["history"][0]["energy"] > 3 * cards[0]["history"][0]["energy"]


PRETEXT = {
    "energy": Target("energy", "scalar", ("dB",), 1.0, 0.5, "2" * 64, "energy", tuned_on=TunedOn("", 0, ())),
    "face_motion": replace(FACE, name="face_motion", kind="scalar", labels=("px",), tuned_on=TunedOn("", 0, ())),
    "action_units": replace(FACE, name="action_units", teacher="action_units", tuned_on=TunedOn("", 0, ())),
}


@pytest.fixture(scope="module")
def of_pretext(tmp_path_factory):
    """Tables of what the three teachers say: of others, who have names, and of one of the three alone."""
    folder, speakers = tmp_path_factory.mktemp("pretext"), ["a", "b", None] * 4
    write_labels(folder, rows=12, targets=[*PRETEXT.values()], lengths_s=(2.0, 5.0), speakers=speakers)
    return str(folder)


def shapes_exported(folder):
    """Of all weights and outputs in a student's ONNX file."""
    graph = onnx.load_from_string(Student.from_pretrained(folder / "seed-0-fold-1").export_onnx()).graph
    return sorted(tuple(one.dims) for one in graph.initializer), [one.name for one in graph.output]


class TestPretext:
    @pytest.fixture(scope="class")
    def of_labels_alone(self, tones, tmp_path_factory):
        folder = tmp_path_factory.mktemp("alone")
        self.train(tones, folder, "--recipe", "strong")
        return shapes_exported(folder)

    def train(self, labeled, output, *arguments):
        given = ["--labeled", labeled, "--output", str(output), "--folds", "1", "--train.epochs", "2", *arguments]
        config = parse_settings(StudentConfig, "", given, defaults=defaults_of)
        return train_students(config).name, json.loads((output / "seed-0-fold-1/student.json").read_text()), config

    @pytest.mark.parametrize(
        ("recipe", "names"),
        [
            ("pretext", [*PRETEXT]),
            ("pretext-energy", ["energy"]),
            ("pretext-face-motion", ["face_motion"]),
            ("pretext-action-units", ["action_units"]),
            ("pretext-joint", [*PRETEXT]),
        ],
    )
    def test_each_recipe_learns_its_targets_and_leaves_no_head_in_what_is_used(
        self, tones, of_pretext, of_labels_alone, tmp_path, recipe, names
    ):
        name, card, config = self.train(tones, tmp_path, "--unlabeled", of_pretext, "--recipe", recipe)
        assert name == card["recipe"] == recipe
        assert list(card["teachers"]) == names
        is_joint, history = recipe == "pretext-joint", card["history"]
        assert len(history) == (2 if is_joint else 4)
        assert all(score[one] > 0 for one in names for score in history[:2])
        assert all((score["supervised"] > 0) == (is_joint or k >= 2) for k, score in enumerate(history))
        assert all(score[one] == 0 for one in names for score in history[2:])
        assert history[0].keys() >= {f"without_{one}" for one in names}
        classifier = EmotionClassifier(3, config.network)
        sizes, hidden = card["parameters"], classifier.encoded_size * 32 + 32
        assert sizes["inference"] == sum(p.numel() for p in classifier.parameters())
        n_values = {"energy": 1, "face_motion": 1, "action_units": 7}
        assert sizes["training"] - sizes["inference"] == sum(hidden + 33 * n_values[one] for one in names)
        weights = safetensors.torch.load_file(tmp_path / "seed-0-fold-1/student.safetensors")
        assert weights.keys() == classifier.state_dict().keys()
        assert shapes_exported(tmp_path) == of_labels_alone

    def test_a_placebo_in_two_stages(self, tones, of_pretext, tmp_path):
        given = ["--unlabeled", of_pretext, "--recipe", "pretext-energy", "--train.epoch_steps", "3"]
        name, card, _ = self.train(tones, tmp_path / "placebo", *given, "--train.placebo", "true")
        assert name == "pretext-energy+placebo+3-steps"
        _, plain, _ = self.train(tones, tmp_path / "plain", *given)
        first, other = card["history"], plain["history"]
        assert len(first) == len(other) == 4
        assert card["epoch_steps"] == plain["epoch_steps"]
        assert first[0]["energy"] != other[0]["energy"] > 0

    def test_values_are_learned_where_the_command_line_says_so(self, tones, of_pretext, tmp_path):
        given = ["--unlabeled", of_pretext, "--recipe", "pretext-energy", "--loss.scalars", "value"]
        name, card, _ = self.train(tones, tmp_path, *given, "--train.two_stage", "false")
        assert name == "pretext-energy+value+one-stage"
        assert card["facts"]["recipe"]["loss"]["scalars"] == "value"
        assert {score["without_energy"] for score in card["history"]} == {0}  # the middle of them is asked about too

    def test_of_the_labeled_recordings_themselves(self, tones, tmp_path):
        table = write_targets_of_tones(tmp_path / "labels", tones, targets=[*PRETEXT.values()])
        given = ["--distil_labeled", table, "--recipe", "pretext-joint"]
        name, card, _ = self.train(tones, tmp_path / "out", *given)
        assert name == "pretext-joint+distil-labeled-only"
        assert all(score[one] > 0 for one in ("energy", "action_units") for score in card["history"])


def test_what_a_student_would_know_too_much_or_not_read_is_said(tones, tone_labels, tmp_path, caplog):
    config = StudentConfig(tones, tone_labels, str(tmp_path), "sp-dstl", train=replace(TRAIN, labeled_fraction=0.5))
    check(config)
    assert (
        "speech_fold_0 was tuned on 100% of tones's training recordings, and the student learns from 50%" in caplog.text
    )
    caplog.clear()
    check(replace(config, recipe="no-dstl"))
    assert [one.message for one in caplog.records] == [f"{tone_labels} is not read: no-dstl learns from labels alone."]


def test_a_teacher_that_is_not_good_enough_is_left_out_and_the_name_says_so(tones, tmp_path, caplog):
    speech = [
        replace(speech_target(f"speech_fold_{one.index}", LABELS, one.index, one.train, "tones"), held_out=held_out)
        for one, held_out in zip(folds_of(read_labeled_set(tones)), (HeldOut(0.9, 0.8), HeldOut(0.5, 0.8)), strict=True)
    ]
    write_labels(tmp_path / "labels", rows=8, targets=(replace(FACE, held_out=HeldOut(0.3, None)), *speech))
    config = StudentConfig(tones, str(tmp_path), str(tmp_path / "out"), folds="1", train=TRAIN, min_teacher_uar=0.6)
    result = train_students(config)
    assert result.name == "conf-vid-sp-dstl+no-face"
    assert "teacher face is left out: its UAR is 0.300" in caplog.text
    card = json.loads((tmp_path / "out/seed-0-fold-1/student.json").read_text())
    assert card["recipe"] == result.name
    assert list(card["teachers"]) == ["speech"]  # below in this fold, but not in the mean
    assert card["facts"]["recipe"]["data"]["left_out"] == ["face"]
    assert card["history"][0].keys() >= {"speech", "supervised"}
    assert "face" not in card["history"][0]
    with pytest.raises(UserError, match=r"No teacher has a UAR of 0\.8, but speech 0\.700, face 0\.300"):
        train_students(replace(config, min_teacher_uar=0.8))


class TestBadInput:
    def refused(self, match, **settings):
        with pytest.raises(UserError, match=match):
            train_students(StudentConfig(**{"train": TRAIN, **settings}))

    @pytest.mark.parametrize(
        ("match", "settings"),
        [
            ("--labeled", {"labeled": ""}),
            ("--unlabeled", {"recipe": "sp-dstl"}),
            ("two_stage", {"train": TrainConfig(two_stage=True)}),
            ("placebo is of distillation", {"train": TrainConfig(placebo=True)}),
            ("align is of what teachers say of unlabeled", {"train": TrainConfig(align=True)}),
            ("learns from labels alone", {"loss": LossConfig({"speech": 1.0})}),
            ("command line", {"recipe": "strong"}),  # with its settings
            ("not finite", {"train": replace(TRAIN, learning_rate=1e30)}),
            *(("--seeds", {"seeds": seeds}) for seeds in ("", "-1", "a")),
        ],
    )
    def test_settings_that_can_not_be_trained(self, tmp_path, tones, match, settings):
        self.refused(match, **{"labeled": tones, "recipe": "no-dstl", "output": str(tmp_path), **settings})
        assert not (tmp_path / "seed-0-fold-0/student.json").exists()

    def test_no_teacher_that_can_be_aligned(self, tmp_path, tones, tone_labels):
        settings = {"labeled": tones, "unlabeled": tone_labels, "output": str(tmp_path), "recipe": "vid-dstl"}
        self.refused(
            "align: no teacher that is learned from knows the labels of tones",
            train=replace(TRAIN, align=True),
            **settings,
        )

    def test_a_placebo_of_a_table_that_is_streamed(self, tmp_path, tones, tone_labels):
        settings = {"labeled": tones, "unlabeled": tone_labels, "output": str(tmp_path), "memory_gb": 0.0}
        self.refused("placebo needs: give --memory_gb 1", train=replace(TRAIN, placebo=True), **settings)

    def test_labels_of_another_set(self, tmp_path, tones):
        other = speech_target("other", LABELS[:2], 0, "x", "tones")
        write_labels(tmp_path / "labels", rows=3, targets=[FACE, other])
        settings = {"labeled": tones, "unlabeled": str(tmp_path), "output": str(tmp_path / "out")}
        self.refused("no target by a teacher speech of tones fold 1, only other", folds="1", **settings)
        self.refused("knows the labels", folds="0", **settings)

    def test_a_teacher_that_has_heard_the_test_speakers(self, tmp_path, tones):
        leaky = speech_target("leaky", LABELS, 0, ["a", "b"], "tones")
        write_labels(tmp_path / "labels", rows=3, targets=[FACE, leaky])
        settings = {"labeled": tones, "unlabeled": str(tmp_path), "output": str(tmp_path / "out"), "folds": "0"}
        self.refused("tuned on speakers a", **settings)
        assert not (tmp_path / "out/run.json").exists()

    def test_a_fold_without_a_label(self, tmp_path, tones):
        rows = list(csv.reader(Path(tones).read_text().splitlines()))
        kept = [row for row in rows if row[1] != "high" or row[2] in speakers_of(0)]
        manifest = Path(tones).with_name("few.csv")
        with manifest.open("w", newline="") as file:
            csv.writer(file).writerows(kept)
        self.refused(
            "fold 0: no training recording has the label high",
            labeled=str(manifest),
            recipe="no-dstl",
            output=str(tmp_path),
        )


def test_a_student_of_all_speakers_has_the_scores_of_its_recipes_folds(tones, tmp_path):
    config = StudentConfig(tones, "", str(tmp_path), recipe="no-dstl", folds="none", train=replace(TRAIN, epochs=1))
    result = train_students(config)
    assert (result.trained, result.records) == (("seed-0-all",), ())
    folder = tmp_path / "seed-0-all"
    card = json.loads((folder / "student.json").read_text())
    assert len(card["speakers"]["train"]) == len(set(load_labeled_speech(read_labeled_set(tones)).speakers))
    assert (card["speakers"]["test"], card["confusions"], "cross_validated" in card) == ([], {}, False)
    (record,) = train_students(replace(config, folds="all")).records
    card = json.loads((folder / "student.json").read_text())
    assert card["cross_validated"]["uar"] == pytest.approx(pooled([record], "uar"), abs=1e-4)
    assert card["temperature"] > 0
    student = Student.from_pretrained(tmp_path)  # of all that are there, this one
    assert student.card.content["fold"] == -1
    student.save_pretrained(tmp_path / "published")
    text = (tmp_path / "published/README.md").read_text()
    assert f"UAR {card['cross_validated']['uar']:.3f}" in text
    assert train_students(config).trained == ()
