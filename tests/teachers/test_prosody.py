"""The prosodic teacher's network, and what the labeling job gets of it."""

import numpy as np
import pytest
import torch
from tones import LABELS, tone

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.prosody.network import ProsodyNetwork
from liser_ray.teachers.prosody.sources import SOURCES
from liser_ray.teachers.prosody.teacher import WEIGHTS_FILE, padded, write_prosody_network
from liser_ray.teachers.teacher import Teacher
from liser_ray.teachers.weights import save_checkpoint

CPU = torch.device("cpu")


def network(seed: int = 0) -> ProsodyNetwork:
    """As after a training: no statistic is what it was at first."""
    torch.manual_seed(seed)
    made = ProsodyNetwork(len(LABELS))
    made.standardise(torch.linspace(-5, 30, 25), torch.linspace(1, 40, 25))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias)
    return made.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("prosody")
    for fold in (0, 1):
        (root / f"fold-{fold}").mkdir()
        write_prosody_network(root / f"fold-{fold}", network(fold), LABELS, "torch")
    return root


def load(address: object, **settings) -> Teacher:
    (entry,) = read_teachers({"prosody": {"kind": "prosody", "weights": str(address)} | settings})
    return entry.load(CPU)


def sounds() -> list[np.ndarray]:
    """Three spans of different lengths."""
    rng = np.random.default_rng(0)
    return [tone(k, seconds, rng).astype(np.float32) / 32768 for k, seconds in enumerate((0.6, 2.0, 1.1))]


@pytest.mark.numerics
def test_what_a_span_gives_does_not_depend_on_the_longer_ones_beside_it():
    torch.manual_seed(1)
    spans = [30 * torch.randn(25, n) for n in (1, 57, 200)]
    made = network()
    with torch.inference_mode():
        together = made.embed(*padded(spans))
        for one, row in zip(spans, together, strict=True):
            torch.testing.assert_close(made.embed(*padded([one]))[0], row, rtol=1e-4, atol=1e-4)


def test_a_span_is_one_window_with_a_distribution_and_an_embedding(folders):
    teacher = load(folders / "fold-0")
    (target,) = teacher.targets
    assert (target.name, target.kind, target.labels, target.window_s) == ("prosody", "distribution", LABELS, 0.0)
    answer = teacher(sounds())["prosody"]
    assert answer.values.shape == (3, 3)
    np.testing.assert_allclose(answer.values.sum(axis=1), 1, rtol=1e-5)
    assert (answer.embedding.dtype, answer.embedding.shape) == (np.float16, (3, target.embedding_size))
    with torch.inference_mode():
        logits = network().classifier(torch.from_numpy(answer.embedding.astype(np.float32)))
    np.testing.assert_allclose(logits.softmax(1), answer.values, atol=1e-2)
    plain = load(folders / "fold-0", embedding=False)
    assert plain.targets[0].embedding_size == 0
    assert plain(sounds())["prosody"].embedding is None
    assert teacher([])["prosody"].values.shape == (0, 3)


def test_teachers_of_all_folds_describe_a_span_once(folders, monkeypatch):
    teacher, calls = load(folders / "fold-*", batch_size=2), []
    monkeypatch.setitem(SOURCES, "torch", lambda sound: calls.append(len(sound)) or torch.ones(25, 40))
    assert [target.name for target in teacher.targets] == ["prosody_fold_0", "prosody_fold_1"]
    found = teacher(sounds())
    assert calls == [len(one) for one in sounds()]
    assert not np.allclose(found["prosody_fold_0"].values, found["prosody_fold_1"].values)


def test_what_is_no_prosodic_teacher_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match=r"finetune_prosody_teacher\.py"):
        load("")
    with pytest.raises(UserError, match=r"finetune_prosody_teacher\.py"):
        load(tmp_path)
    save_checkpoint(tmp_path / WEIGHTS_FILE, network().state_dict())
    with pytest.raises(UserError, match="does not say which labels"):
        load(tmp_path)
    write_prosody_network(tmp_path, network(), ("low", "high"), "torch")
    with pytest.raises(UserError, match=r"no checkpoint of a prosodic teacher(.|\n)*classifier"):
        load(tmp_path)
