"""The job as its users run it: on real RAVDESS, on a cluster that loses a worker, and with everything done wrong."""

import csv
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from tone_files import write_tones

from liser_ray.corpora.speech import read_waveform
from liser_ray.demo.speech_base import pretrain_speech_base
from liser_ray.finetuning.config import FinetuneConfig, LoraSettings, TrainSettings
from liser_ray.finetuning.job import finetune
from liser_ray.finetuning.report import print_result
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.windows import sound_windows

CHANCE, MARGIN = 1 / 8, 0.1


def kill_a_worker(training: Path, killed: list[int]) -> None:
    """Wait for the first checkpoint and kill a worker that trains."""
    while not Path(f"{training}.pt").exists():
        time.sleep(0.02)
    workers = [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::RayTrainWo")]
    killed.append(workers[-1].pid)
    os.kill(workers[-1].pid, signal.SIGKILL)


@pytest.mark.soak
def test_ravdess_is_learned_by_a_network_that_has_heard_voices(test_data, tmp_path, capsys):
    """A short training on the first sentence; the base is a small HuBERT from scratch, without labels."""
    pretrain_speech_base(tmp_path / "base", seed=0, speakers=12, steps=300)
    (tmp_path / "sentence").mkdir()
    for path in (test_data / "ravdess").glob("*/03-01-??-??-01-*.flac"):
        (tmp_path / "sentence" / path.name).symlink_to(path)
    config = FinetuneConfig(
        labeled=f"ravdess:{tmp_path}/sentence",
        output=str(tmp_path / "teachers"),
        base=str(tmp_path / "base"),
        folds="0",
        train=TrainSettings(epochs=5, batch_size=16, learning_rate=1e-2, crop_s=2.0),
    )
    result = finetune(config)
    losses = [epoch["loss"] for epoch in result.bundles[0].content["history"]]
    assert losses[-1] < losses[0] - 0.2
    uar = result.evaluation["overall"]["recordings"]["uar"]
    assert uar > CHANCE + MARGIN
    print_result(result)
    printed = capsys.readouterr().out
    assert "2 5 14 15 16" in printed
    assert f"{uar:.3f}" in printed
    assert json.loads((tmp_path / "teachers/evaluation.json").read_text()) == json.loads(json.dumps(result.evaluation))


@pytest.mark.slow
def test_two_workers_one_of_them_killed_are_one_process_and_folds_may_come_one_by_one(tones, ray_session, tmp_path):
    pretrain_speech_base(tmp_path / "base", seed=0, speakers=1, steps=2)  # which has no dropout
    train = replace(tones.train, epochs=30)
    relative = os.path.relpath(tmp_path / "base")  # Ray Train's workers have folders of their own
    tones = replace(tones, base=relative, folds="0", train=train, checkpoint_every_s=0, precision="float32")
    killed: list[int] = []
    folder = Path(tones.output, "training/fold-0")
    killer = threading.Thread(target=kill_a_worker, args=(folder, killed), daemon=True)
    killer.start()
    on_two = finetune(replace(tones, workers=2))
    killer.join(timeout=1)
    assert len(killed) == 1
    assert not folder.parent.exists()

    # One process with the same total batch gives the same teacher, so nothing was lost with the worker.
    alone = finetune(replace(tones, output=tones.output + "-alone"))
    names = ("loss", "validation_loss")
    for one, other in zip(on_two.bundles[0].content["history"], alone.bundles[0].content["history"], strict=True):
        assert [one[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-3)
    windows = np.concatenate(
        [sound_windows(read_waveform(str(tmp_path / f"{i}.wav")), 0.5, 0.5)[0] for i in range(0, 24, 8)]
    )
    probs = [ask(f"{result.output}/fold-0", windows)["t"] for result in (on_two, alone)]
    np.testing.assert_allclose(*probs, atol=5e-3)

    # The second fold joins the first, which is not trained again.
    both = finetune(replace(tones, folds="0,1"))
    assert both.trained == (1,)
    assert both.bundles[0].content == on_two.bundles[0].content
    assert finetune(replace(tones, folds="0,1")).trained == ()
    with pytest.raises(UserError, match=r"lora\.rank: was 8, is now 4"):
        finetune(replace(tones, lora=LoraSettings(rank=4)))


def ask(address: str, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Softmaxes of the speech teachers at an address."""
    (entry,) = read_teachers([f"t=speech:{address}"])
    return {name: answer.values for name, answer in entry.load(torch.device("cpu"))(windows).items()}


def write_manifest(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_manifest(path: str | Path) -> list[dict]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tones(base, tmp_path) -> FinetuneConfig:
    return FinetuneConfig(
        labeled=write_tones(tmp_path),
        output=str(tmp_path / "teachers"),
        base=str(base),
        train=TrainSettings(epochs=1, batch_size=8, crop_s=0.5),
        workers=0,
    )


def test_recordings_that_can_not_be_used_are_skipped_and_counted(tones, tmp_path):
    manifest = Path(tones.labeled)
    rows = read_manifest(manifest)
    bad = {
        "silent.wav": np.zeros(16_000),
        "short.wav": 0.3 * np.ones(160),  # 10 ms
        "nan.wav": np.full(16_000, np.nan),
    }
    for name, sound in bad.items():
        soundfile.write(tmp_path / name, sound, 16_000, subtype="FLOAT")
        rows.append({"path": name, "label": "low", "speaker": "a", "fold": 0})
    write_manifest(manifest, rows)
    result = finetune(tones)
    card = json.loads(Path(result.output, "run.json").read_text())
    assert sorted(card["skipped"].values()) == [1, 1, 1]
    assert {"silent", "not finite"} < set(card["skipped"])
    assert np.sum(result.evaluation["overall"]["recordings"]["confusion"]) == 24
    first, second = (next(row for row in rows if row["label"] == label) for label in ("low", "high"))
    first["label"], second["label"] = "high", "low"
    write_manifest(manifest, rows)
    with pytest.raises(UserError, match="sha256: differs"):  # else some folds would have learned the old labels
        finetune(tones)


def test_bundles_go_to_s3_and_come_back_as_teachers(tones, s3_store):
    bucket = s3_store.bucket()
    result = finetune(replace(tones, output=f"s3://{bucket}/teachers", folds="0"))
    windows = np.random.default_rng(0).standard_normal((3, 8000)).astype(np.float32)
    assert ask(f"s3://{bucket}/teachers/fold-*", windows)["t_fold_0"].shape == (3, 3)
    assert finetune(replace(tones, output=f"s3://{bucket}/teachers", folds="0")).trained == ()
    assert result.trained == (0,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labeled": ""}, ["--labeled", "ravdess:"]),
        ({"labeled": "anonymous.csv"}, ["speaker", "path, label"]),
        ({"labeled": "one.csv"}, ["label", "'low'"]),
        ({"folds": "0,9"}, ["0,9", "all"]),
        ({"base": "nowhere"}, ["nowhere", "--base"]),
        ({"base": "text"}, ["text", "config.json"]),
    ],
)
def test_a_wrong_setting_is_one_clear_message_before_any_work(tones, tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("anonymous.csv"), [{"path": "a.wav", "label": "low"}])
    write_manifest(Path("one.csv"), [row | {"label": "low"} for row in read_manifest(tones.labeled)])
    Path("text").mkdir()
    with pytest.raises(UserError) as error:
        finetune(replace(tones, **changes))
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "teachers/run.json").exists()
