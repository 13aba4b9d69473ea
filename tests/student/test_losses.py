import math
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from small_logits import random_logits, softmaxes

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.losses import (
    DISTANCES,
    SegmentTarget,
    SetLabels,
    Targets,
    ce_distillation,
    confidence_weights,
    high_low_distance,
    huber_distance,
    loss_terms,
    mae_distillation,
    supervised_losses,
)
from liser_ray.student.network import StudentLogits, StudentNetwork
from liser_ray.teachers.targets import Target
from liser_ray.teachers.temperature import with_temperature

LOG = math.log
HALF = torch.tensor([[LOG(2), LOG(1), LOG(1)]], dtype=torch.float64)  # softmax 1/2, 1/4, 1/4
TEACHER = torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64)
ONE = {"speech": 1.0, "face": 1.0}


def target(name, n_values, kind="distribution", temperature=1.0):
    labels = tuple(map(str, range(n_values)))
    return Target(name, kind, labels, 0.5, 0.5, "0" * 64, name, temperature=temperature)


TEACHERS = {"speech": target("speech", 8, temperature=2.0), "face": target("face", 7)}


def batch(n_labeled=3, n_unlabeled=4, k_s=8, k_f=7):
    """Logits with gradients and targets, float64."""
    n = n_labeled + n_unlabeled
    heads = {"speech": random_logits(n, k_s, 2), "face": random_logits(n, k_f, 3)}
    valid = torch.ones(n_unlabeled, dtype=torch.bool)
    told = {"speech": softmaxes(n_unlabeled, k_s, 4), "face": softmaxes(n_unlabeled, k_f, 5)}
    targets = Targets(
        torch.arange(n_labeled) % k_s, {name: SegmentTarget(values, valid.clone()) for name, values in told.items()}
    )
    return StudentLogits(random_logits(n, k_s, 1), heads), targets


def total_loss(logits, targets, config, teachers=TEACHERS):
    """The terms of equation (4) or (5), and their sum as `total`."""
    n = len(logits.supervised)
    terms = {name: one / max(n, 1) for name, one in loss_terms(logits, targets, config, teachers).items()}
    return SimpleNamespace(total=sum(terms.values()), **terms)


def gradients(logits, targets, config):
    """Of the supervised head, of speech and of face."""
    tensors = [logits.supervised, *logits.teachers.values()]
    for one in tensors:
        one.grad = None
    total_loss(logits, targets, config).total.backward()
    return [one.grad for one in tensors]


@pytest.mark.parametrize(
    ("truth", "smoothing", "weights", "expected"),
    [
        ([0, 2], 0.0, None, LOG(2) + LOG(4)),
        ([0], 0.3, None, (0.7 + 0.1) * LOG(2) + 0.1 * LOG(4) + 0.1 * LOG(4)),
        ([0, 2], 0.0, [0.5, 1.0, 3.0], 0.5 * LOG(2) + 3 * LOG(4)),
        ([[0.25, 0.0, 0.75]], 0.0, None, 0.25 * LOG(2) + 0.75 * LOG(4)),
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 0.0, [0.5, 1.0, 3.0], 0.5 * LOG(2) + 3 * LOG(4)),
    ],
)
def test_the_supervised_term_by_hand(truth, smoothing, weights, expected):
    truth = torch.tensor(truth, dtype=torch.float64 if isinstance(truth[0], list) else torch.int64)
    logits = StudentLogits(HALF.repeat(len(truth), 1), {})
    weights = weights and torch.tensor(weights, dtype=torch.float64)
    sets = [SetLabels(torch.arange(3), weights)] if weights is not None else []
    terms = loss_terms(logits, Targets(truth, {}), LossConfig(label_smoothing=smoothing), {}, sets)
    assert terms["supervised"].item() == pytest.approx(expected)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_labels_that_a_set_does_not_have_do_not_compete_for_its_recordings(soft, smoothing):
    """The equation, item by item; and absent labels get no gradient."""
    logits, rng = random_logits(7, 5), np.random.default_rng(3)
    places, weights = ([0, 1, 2, 3, 4], [1, 3, 4]), (np.array([1, 2, 0.5, 1, 3]), np.array([0.3, 1, 2]))
    sizes = (3, 4)
    of_item = np.repeat([0, 1], sizes)
    truth = np.array([0, 4, 2, 3, 1, 4, 3])
    wanted = np.eye(5)[truth]
    if soft:
        wanted = np.stack(
            [0.7 * one + 0.3 * np.eye(5)[rng.choice(places[k])] for one, k in zip(wanted, of_item, strict=True)]
        )
    expected = []
    for item, k in enumerate(of_item):
        raw = logits[item].detach().numpy()
        denominator = sum(math.exp(raw[label]) for label in places[k])
        smoothed = {label: (1 - smoothing) * wanted[item, label] + smoothing / len(places[k]) for label in places[k]}
        of_label = dict(zip(places[k], weights[k], strict=True))
        expected.append(-sum(of_label[label] * smoothed[label] * (raw[label] - LOG(denominator)) for label in of_label))
    targets = Targets(torch.from_numpy(wanted if soft else truth), {}, sizes)
    sets = [SetLabels(torch.tensor(at), torch.from_numpy(c)) for at, c in zip(places, weights, strict=True)]
    losses = supervised_losses(logits, targets, sets, smoothing)
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-12)
    losses.sum().backward()
    assert not logits.grad[3:, [0, 2]].any()
    assert logits.grad[:3].all()


class TestDistillation:
    def test_by_hand(self):
        assert mae_distillation(HALF, TEACHER).item() == pytest.approx((0.4 + 0.45 + 0.05) / 3)
        assert ce_distillation(HALF, TEACHER).item() == pytest.approx(0.1 * LOG(2) + 0.7 * LOG(4) + 0.2 * LOG(4))
        assert DISTANCES["mae-sum"](HALF, TEACHER).item() == pytest.approx(0.4 + 0.45 + 0.05)
        kl = 0.1 * LOG(0.1 / 0.5) + 0.7 * LOG(0.7 / 0.25) + 0.2 * LOG(0.2 / 0.25)
        assert DISTANCES["kl"](HALF, TEACHER).item() == pytest.approx(kl)
        assert DISTANCES["kl"](TEACHER.log(), TEACHER).item() == pytest.approx(0, abs=1e-12)

    def test_a_scalar_by_hand(self):
        outputs, teacher = torch.tensor([[0.5], [3.0], [-1.0]]), torch.tensor([[0.0], [1.0], [-1.0]])
        assert huber_distance(outputs, teacher).tolist() == [0.125, 1.5, 0.0]

    def test_high_or_low_by_hand(self):
        """Of logits whose sigmoid is 3/4 and 1/5, where all windows, half of them and none are high."""
        outputs = torch.tensor([[LOG(3)], [LOG(3)], [-LOG(4)]], dtype=torch.float64)
        teacher = torch.tensor([[1.0], [0.5], [0.0]], dtype=torch.float64)
        expected = [LOG(4 / 3), (LOG(4 / 3) + LOG(4)) / 2, LOG(5 / 4)]
        assert high_low_distance(outputs, teacher).tolist() == pytest.approx(expected)

    @pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
    def test_the_teachers_own_logits_are_the_best(self, distance):
        own = TEACHER.log()
        other = own + torch.tensor([[0.3, -0.2, 0.1]])
        assert distance(own, TEACHER).item() < distance(other, TEACHER).item()

    def test_extreme_logits_and_sure_teachers_stay_finite(self):
        logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
        teacher = torch.tensor([[0.0, 0.0, 1.0]])
        loss = sum(distance(logits, teacher) for distance in DISTANCES.values())
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_confidence_is_the_largest_probability_at_the_temperature_of_calibration(temperature):
    teacher = torch.cat([softmaxes(10, 7), torch.eye(7, dtype=torch.float64)])
    expected = with_temperature(teacher.numpy(), temperature).max(axis=1)
    np.testing.assert_allclose(confidence_weights(teacher, temperature), expected, rtol=1e-6)


class TestTotal:
    @pytest.mark.parametrize("confidence", ["none", "raw", "calibrated"])
    @pytest.mark.parametrize("distillation", ["mae", "ce"])
    def test_equations_4_and_5_item_by_item(self, confidence, distillation):
        logits, targets = batch(3, 4)
        config = LossConfig({"speech": 0.5, "face": 10.0}, distillation, confidence)
        found = total_loss(logits, targets, config)

        def distance(z, t):
            p = np.exp(z) / np.exp(z).sum()
            return np.abs(p - t).mean() if distillation == "mae" else -(t * np.log(p)).sum()

        supervised, speech, face = 0.0, 0.0, 0.0
        z_sup, z_sd, z_vd = (one.detach().numpy() for one in (logits.supervised, *logits.teachers.values()))
        for i in range(3):
            supervised -= np.log(np.exp(z_sup[i, targets.truth[i]]) / np.exp(z_sup[i]).sum())
        for i in range(4):
            t_s, t_v = (targets.by_name[name].values[i].numpy() for name in ONE)
            sure = with_temperature(t_s[None], 2.0)[0] if confidence == "calibrated" else t_s
            w_s, w_v = (1, 1) if confidence == "none" else (sure.max(), t_v.max())
            speech += 0.5 * w_s * distance(z_sd[3 + i], t_s)
            face += 10.0 * w_v * distance(z_vd[3 + i], t_v)
        assert found.supervised.item() == pytest.approx(supervised / 7)
        assert found.speech.item() == pytest.approx(speech / 7)
        assert found.face.item() == pytest.approx(face / 7)
        assert found.total.item() == pytest.approx((supervised + speech + face) / 7)

    @pytest.mark.parametrize(("name", "head"), [("speech", 1), ("face", 2)])
    @pytest.mark.parametrize("distillation", ["mae", "ce"])
    def test_lambda_0_gives_its_head_no_gradient_at_all(self, name, head, distillation):
        found = gradients(*batch(), LossConfig(ONE | {name: 0.0}, distillation, "raw"))
        assert not found[head].any()
        assert found[3 - head].any()

    def test_labeled_items_do_not_distil_and_unlabeled_ones_are_not_supervised(self):
        supervised, speech, face = gradients(*batch(3, 4), LossConfig(ONE))
        assert supervised[:3].any(dim=1).all()
        assert not supervised[3:].any()
        for one in (speech, face):
            assert not one[:3].any()
            assert one[3:].any(dim=1).all()

    def test_only_labeled_or_only_unlabeled_items(self):
        logits, targets = batch(5, 0)
        found = total_loss(logits, targets, LossConfig(ONE))
        torch.testing.assert_close(found.total, torch.nn.functional.cross_entropy(logits.supervised, targets.truth))
        assert found.speech == found.face == 0
        found = total_loss(*batch(0, 6), LossConfig(ONE))
        assert found.supervised == 0
        assert found.total == found.speech + found.face > 0

    def test_every_parameter_gets_a_gradient_whatever_is_left_out(self):
        """Data-parallel training waits for all of them."""
        torch.manual_seed(0)
        network = StudentNetwork(8, {"speech": 8, "face": 7})
        _, targets = batch(3, 0)
        total_loss(network(torch.randn(3, 64, 12)), targets, LossConfig(dict.fromkeys(ONE, 0.0))).total.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            # The bias before a batch norm cancels: in the first block exactly.
            assert bool(parameter.grad.any()) != name.startswith(("heads.", "classifier.convolutions.0.0.bias")), name

    @pytest.mark.parametrize(
        "config",
        [LossConfig({"speech": 0.5, "face": 5.0}), LossConfig({"speech": 5.0, "face": 0.5}, "ce", "raw", 0.1)],
    )
    def test_numeric_gradients(self, config):
        logits, targets = batch(2, 3, 4, 3)
        targets.by_name["face"].valid[1] = False

        def total(supervised, speech, face):
            return total_loss(StudentLogits(supervised, {"speech": speech, "face": face}), targets, config).total

        assert torch.autograd.gradcheck(total, (logits.supervised, *logits.teachers.values()))

    @pytest.mark.parametrize(
        ("scalars", "distance"), [("value", huber_distance), ("high-low", high_low_distance)], ids=["value", "high-low"]
    )
    def test_a_scalar_has_no_confidence_and_none_where_it_is_neither(self, scalars, distance):
        logits, targets = batch(2, 3, 4, 1)
        values, valid = targets.by_name["face"]
        valid[1], values[1] = False, math.nan
        config = LossConfig({"face": 3.0}, confidence="raw", scalars=scalars)
        found = total_loss(logits, targets, config, {"face": target("face", 1, "scalar")})
        outputs = logits.teachers["face"][2:][valid]
        torch.testing.assert_close(found.face, 3.0 * distance(outputs, values[valid]).sum() / 5)
        found.total.backward()
        assert not logits.teachers["face"].grad[3].any()

    def test_labeled_items_may_have_targets_too(self):
        """[Σ_l (L_sup + Σ_t λ_t w_t L_t) + Σ_u Σ_t λ_t w_t L_t] / N: as if all were unlabeled, and the labels' term."""
        config = LossConfig({"speech": 0.5, "face": 5.0}, confidence="raw")
        logits, of_all = batch(0, 7)
        of_all.by_name["face"].valid[:2] = False
        truth = torch.tensor([3, 1, 4])
        both = total_loss(logits, Targets(truth, of_all.by_name), config)
        unlabeled = total_loss(logits, of_all, config)
        supervised = total_loss(logits, Targets(truth, batch(3, 4)[1].by_name), config).supervised
        torch.testing.assert_close(both.total, unlabeled.total + supervised)
        assert (both.speech, both.face) == (unlabeled.speech, unlabeled.face)


class TestMissingTargets:
    @pytest.mark.parametrize(
        "config", [LossConfig(ONE), LossConfig(ONE, "ce", "raw"), LossConfig(ONE, "kl", "calibrated")]
    )
    @pytest.mark.parametrize("junk", [0.0, math.nan, math.inf])
    @pytest.mark.parametrize(("name", "head"), [("speech", 1), ("face", 2)])
    def test_no_target_no_term_and_everything_else_as_before(self, config, junk, name, head):
        logits, targets = batch(3, 4)
        whole = gradients(logits, targets, config)
        targets.by_name[name].values[1:3] = junk
        targets.by_name[name].valid[1:3] = False
        masked = gradients(logits, targets, config)
        for other in {0, 1, 2} - {head}:
            assert torch.equal(masked[other], whole[other])
        assert not masked[head][4:6].any()
        torch.testing.assert_close(masked[head][[3, 6]], whole[head][[3, 6]])  # still divided by all 7

    def test_no_target_anywhere_leaves_no_term(self):
        logits, targets = batch()
        targets.by_name["face"].valid[:] = False
        found = total_loss(logits, targets, LossConfig(ONE))
        assert found.face == 0
        assert torch.isfinite(found.total)


class TestEmoDistill:
    """α · L_logit + β · L_emb + L_CE on labeled items, by the head that predicts and a projection for each teacher."""

    TAUGHT: ClassVar = {"prosody": target("prosody", 4, "distribution"), "words": target("words", 4, "distribution")}
    SIZES: ClassVar = {"prosody": 3, "words": 5}
    CONFIG: ClassVar = {
        "lambdas": {"prosody": 0.5, "words": 2.0},
        "distillation": "kl",
        "heads": "predicting",
        "temperatures": {"prosody": 0.5, "words": 4.0},
        "embeddings": {"prosody": 3.0, "words": 0.25},
    }

    @pytest.fixture
    def teachers(self):
        embeddings = {
            f"{name}.embedding": replace(one, embedding_size=self.SIZES[name]).of_embedding()
            for name, one in self.TAUGHT.items()
        }
        return self.TAUGHT | embeddings

    @pytest.fixture
    def made(self):
        """Of five items: logits with gradients, and targets of which the second teacher lacks two."""
        valid = {"prosody": torch.ones(5, dtype=torch.bool), "words": torch.tensor([1, 0, 1, 1, 0], dtype=torch.bool)}
        projected = {f"{name}.embedding": random_logits(5, size, size) for name, size in self.SIZES.items()}
        told = {name: SegmentTarget(softmaxes(5, 4, size), valid[name]) for name, size in self.SIZES.items()}
        told |= {
            f"{name}.embedding": SegmentTarget(random_logits(5, size, 10 + size).detach(), valid[name])
            for name, size in self.SIZES.items()
        }
        return StudentLogits(random_logits(5, 4, 1), projected), Targets(torch.arange(5) % 4, told)

    def test_item_by_item(self, made, teachers):
        logits, targets = made
        found = total_loss(logits, targets, LossConfig(**self.CONFIG), teachers)
        expected, settings = 0.0, LossConfig(**self.CONFIG)
        for i in range(5):
            z = logits.supervised[i].detach().numpy()
            expected -= np.log(np.exp(z) / np.exp(z).sum())[targets.truth[i]]
            for name in self.TAUGHT:
                if not targets.by_name[name].valid[i]:
                    continue
                tau, e = settings.temperatures[name], targets.by_name[f"{name}.embedding"].values[i].numpy()
                said = with_temperature(targets.by_name[name].values[i].numpy(), tau).astype(float)
                own = np.exp(z / tau) / np.exp(z / tau).sum()
                p = logits.teachers[f"{name}.embedding"][i].detach().numpy()
                expected += settings.lambdas[name] * (said * np.log(said / own)).sum()
                expected -= settings.embeddings[name] * (p @ e) / np.linalg.norm(p) / np.linalg.norm(e)
        assert found.total.item() == pytest.approx(expected / 5, rel=1e-6)  # with_temperature gives float32

    def test_equality_is_minus_2(self, made, teachers):
        logits, targets = made
        equal = {name: 2 * targets.by_name[name].values for name in logits.teachers}
        everything = {
            name: one._replace(valid=torch.ones(5, dtype=torch.bool)) for name, one in targets.by_name.items()
        }
        config = LossConfig(embeddings={"prosody": 1.0, "words": 1.0})
        terms = loss_terms(
            StudentLogits(logits.supervised, equal), Targets(targets.truth, everything), config, teachers
        )
        assert sum(terms[name].item() / 5 for name in equal) == pytest.approx(-2)

    @pytest.mark.parametrize("junk", [0.0, math.nan, math.inf])
    def test_of_a_teacher_that_says_nothing_there_is_no_gradient(self, made, teachers, junk):
        """The gradients are those of a loss that the teacher is not in."""
        logits, targets = made
        nothing = torch.zeros(5, dtype=torch.bool)
        for name in ("words", "words.embedding"):
            targets.by_name[name].values[:] = junk
            targets.by_name[name] = targets.by_name[name]._replace(valid=nothing)
        total_loss(logits, targets, LossConfig(**self.CONFIG), teachers).total.backward()
        with_it = logits.supervised.grad.clone(), logits.teachers["prosody.embedding"].grad.clone()
        assert not logits.teachers["words.embedding"].grad.any()
        logits.supervised.grad, logits.teachers["prosody.embedding"].grad = None, None
        without = {of: {"prosody": given["prosody"]} for of, given in self.CONFIG.items() if isinstance(given, dict)}
        total_loss(logits, targets, LossConfig(**self.CONFIG | without), teachers).total.backward()
        assert torch.equal(logits.supervised.grad, with_it[0])
        assert torch.equal(logits.teachers["prosody.embedding"].grad, with_it[1])

    def test_weights_of_0_give_the_bytes_of_labels_alone(self, made, teachers):
        logits, targets = made
        alone = total_loss(logits, targets, LossConfig(), {})
        alone.total.backward()
        gradient, logits.supervised.grad = logits.supervised.grad, None
        zeros = dict.fromkeys(self.TAUGHT, 0.0)
        found = total_loss(
            logits, targets, LossConfig(**self.CONFIG | {"lambdas": zeros, "embeddings": zeros}), teachers
        )
        found.total.backward()
        assert torch.equal(found.total, alone.total)
        assert torch.equal(logits.supervised.grad, gradient)
        assert not any(one.grad.any() for one in logits.teachers.values())

    def test_numeric_gradients(self, made, teachers):
        logits, targets = made

        def total(supervised, *projected):
            of = StudentLogits(supervised, dict(zip(logits.teachers, projected, strict=True)))
            return total_loss(of, targets, LossConfig(**self.CONFIG, temperature_squared=True), teachers).total

        assert torch.autograd.gradcheck(total, (logits.supervised, *logits.teachers.values()))


def test_logits_and_targets_of_different_batches_are_refused():
    logits, targets = batch(3, 4)
    fewer = SegmentTarget(softmaxes(3, 7), torch.ones(3, dtype=torch.bool))
    for wrong in (batch(3, 3)[1], Targets(targets.truth, targets.by_name | {"face": fewer}), batch(4, 4)[1]):
        with pytest.raises(ValueError, match="7 logits"):
            total_loss(logits, wrong, LossConfig(ONE))
    with pytest.raises(ValueError, match="0 logits"):
        total_loss(*batch(0, 0), LossConfig(ONE))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lambdas": {"speech": -1.0}}, "lambdas.speech is -1"),
        ({"lambdas": {"face": math.nan}}, "lambdas.face is nan"),
        ({"lambdas": {"face": math.inf}}, "lambdas.face is inf"),
        ({"lambdas": {"supervised": 1.0}}, "is not supervised"),
        ({"lambdas": {"my face": 1.0}}, "letters, digits and _"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"penalty": -1.0}, "penalty"),
        ({"clusters": 1}, "clusters"),
        ({"cluster_weight": -1.0}, "cluster_weight"),
        ({"attributes": {"arousal": -1.0}}, "attributes.arousal"),
        ({"attributes": {"speech": 1.0}, "lambdas": {"speech": 1.0}}, "speech is a target and an attribute"),
        ({"lambdas": {"penalty": 1.0}}, "is not supervised, penalty or clusters"),
        ({"embeddings": {"words": -1.0}}, "embeddings.words is -1"),
        ({"temperatures": {"words": math.nan}}, "temperatures.words is nan"),
        ({"temperatures": {"words": 0.0}}, "give numbers above 0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
    ],
)
def test_settings_without_sense_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        LossConfig(**settings)
