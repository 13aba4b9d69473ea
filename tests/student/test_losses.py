import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.losses import Targets, ce_distillation, confidence_weights, loss_terms, mae_distillation
from liser_ray.student.network import StudentLogits, StudentNetwork
from liser_ray.teachers.temperature import with_temperature

LOG = math.log
HALF = torch.tensor([[LOG(2), LOG(1), LOG(1)]], dtype=torch.float64)  # softmax 1/2, 1/4, 1/4
TEACHER = torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64)


def softmaxes(n, k, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet((0.5,) * k, n))


def random_logits(n, k, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, k))).requires_grad_()


def batch(n_labeled=3, n_unlabeled=4, k_s=8, k_v=7):
    """Logits with gradients and targets, float64."""
    n = n_labeled + n_unlabeled
    logits = StudentLogits(random_logits(n, k_s, 1), random_logits(n, k_s, 2), random_logits(n, k_v, 3))
    targets = Targets(
        truth=torch.arange(n_labeled) % k_s,
        speech=softmaxes(n_unlabeled, k_s, 4),
        video=softmaxes(n_unlabeled, k_v, 5),
        video_valid=torch.ones(n_unlabeled, dtype=torch.bool),
    )
    return logits, targets


def total_loss(logits, targets, config, *more, **named):
    """The terms of equation (4) or (5), and their sum as `total`."""
    terms = {name: one / len(logits[0]) for name, one in loss_terms(logits, targets, config, *more, **named).items()}
    return SimpleNamespace(total=sum(terms.values()), **terms)


def gradients(logits, targets, config):
    for one in logits:
        one.grad = None
    total_loss(logits, targets, config).total.backward()
    return [one.grad for one in logits]


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
    _, targets = batch(0, 0, 3)
    logits = StudentLogits(HALF.repeat(len(truth), 1), HALF[:0], HALF.new_zeros(0, 7))
    weights = weights and torch.tensor(weights, dtype=torch.float64)
    terms = loss_terms(logits, replace(targets, truth=truth), LossConfig(label_smoothing=smoothing), weights)
    assert terms["supervised"].item() == pytest.approx(expected)


class TestDistillation:
    def test_by_hand(self):
        assert mae_distillation(HALF, TEACHER).item() == pytest.approx((0.4 + 0.45 + 0.05) / 3)
        assert ce_distillation(HALF, TEACHER).item() == pytest.approx(0.1 * LOG(2) + 0.7 * LOG(4) + 0.2 * LOG(4))

    @pytest.mark.parametrize("distance", [mae_distillation, ce_distillation])
    def test_the_teachers_own_logits_are_the_best(self, distance):
        own = TEACHER.log()
        other = own + torch.tensor([[0.3, -0.2, 0.1]])
        assert distance(own, TEACHER).item() < distance(other, TEACHER).item()

    def test_extreme_logits_and_sure_teachers_stay_finite(self):
        logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
        teacher = torch.tensor([[0.0, 0.0, 1.0]])
        loss = mae_distillation(logits, teacher) + ce_distillation(logits, teacher)
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
        config = LossConfig(0.5, 10.0, distillation, confidence)
        found = total_loss(logits, targets, config, speech_temperature=2.0)  # which counts if calibrated alone

        def distance(z, t):
            p = np.exp(z) / np.exp(z).sum()
            return np.abs(p - t).mean() if distillation == "mae" else -(t * np.log(p)).sum()

        supervised, speech, video = 0.0, 0.0, 0.0
        z_sup, z_sd, z_vd = (one.detach().numpy() for one in logits)
        for i in range(3):
            supervised -= np.log(np.exp(z_sup[i, targets.truth[i]]) / np.exp(z_sup[i]).sum())
        for i in range(4):
            t_s, t_v = targets.speech[i].numpy(), targets.video[i].numpy()
            sure = with_temperature(t_s[None], 2.0)[0] if confidence == "calibrated" else t_s
            w_s, w_v = (1, 1) if confidence == "none" else (sure.max(), t_v.max())
            speech += 0.5 * w_s * distance(z_sd[3 + i], t_s)
            video += 10.0 * w_v * distance(z_vd[3 + i], t_v)
        assert found.supervised.item() == pytest.approx(supervised / 7)
        assert found.speech.item() == pytest.approx(speech / 7)
        assert found.video.item() == pytest.approx(video / 7)
        assert found.total.item() == pytest.approx((supervised + speech + video) / 7)

    @pytest.mark.parametrize(("settings", "head"), [({"lambda_sd": 0.0}, 1), ({"lambda_vd": 0.0}, 2)])
    @pytest.mark.parametrize("distillation", ["mae", "ce"])
    def test_lambda_0_gives_its_head_no_gradient_at_all(self, settings, head, distillation):
        found = gradients(*batch(), LossConfig(distillation=distillation, confidence="raw", **settings))
        assert not found[head].any()
        assert found[3 - head].any()

    def test_labeled_items_do_not_distil_and_unlabeled_ones_are_not_supervised(self):
        supervised, speech, video = gradients(*batch(3, 4), LossConfig())
        assert supervised[:3].any(dim=1).all()
        assert not supervised[3:].any()
        for one in (speech, video):
            assert not one[:3].any()
            assert one[3:].any(dim=1).all()

    def test_only_labeled_or_only_unlabeled_items(self):
        logits, targets = batch(5, 0)
        found = total_loss(logits, targets, LossConfig())
        torch.testing.assert_close(found.total, torch.nn.functional.cross_entropy(logits.supervised, targets.truth))
        assert found.speech == found.video == 0
        found = total_loss(*batch(0, 6), LossConfig())
        assert found.supervised == 0
        assert found.total == found.speech + found.video > 0

    def test_every_parameter_gets_a_gradient_whatever_is_left_out(self):
        """Data-parallel training waits for all of them."""
        torch.manual_seed(0)
        network = StudentNetwork(8)
        _, targets = batch(3, 0)
        total_loss(network(torch.randn(3, 64, 12)), targets, LossConfig(0.0, 0.0)).total.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()) != name.startswith(("speech_head", "video_head")), name

    @pytest.mark.parametrize("config", [LossConfig(0.5, 5.0), LossConfig(5.0, 0.5, "ce", "raw", 0.1)])
    def test_numeric_gradients(self, config):
        logits, targets = batch(2, 3, 4, 3)
        targets.video_valid[1] = False
        assert torch.autograd.gradcheck(lambda *z: total_loss(StudentLogits(*z), targets, config).total, tuple(logits))


class TestMissingFaces:
    @pytest.mark.parametrize("config", [LossConfig(), LossConfig(distillation="ce", confidence="raw")])
    @pytest.mark.parametrize("junk", [0.0, math.nan, math.inf])
    def test_no_face_no_video_term_and_everything_else_as_before(self, config, junk):
        logits, targets = batch(3, 4)
        whole = gradients(logits, targets, config)
        targets.video[1:3] = junk
        targets.video_valid[1:3] = False
        masked = gradients(logits, targets, config)
        assert torch.equal(masked[0], whole[0])
        assert torch.equal(masked[1], whole[1])
        assert not masked[2][4:6].any()
        torch.testing.assert_close(masked[2][[3, 6]], whole[2][[3, 6]])  # still divided by all 7

    def test_no_face_anywhere_leaves_no_video_term(self):
        logits, targets = batch()
        found = total_loss(logits, replace(targets, video_valid=torch.zeros(4, dtype=torch.bool)), LossConfig())
        assert found.video == 0
        assert torch.isfinite(found.total)


def test_logits_and_targets_of_different_batches_are_refused():
    logits, _ = batch(3, 4)
    for wrong in (batch(3, 3)[1], replace(batch(3, 4)[1], video=softmaxes(3, 7)), batch(4, 4)[1]):
        with pytest.raises(ValueError, match="7 logits"):
            total_loss(logits, wrong, LossConfig())
    with pytest.raises(ValueError, match="0 logits"):
        total_loss(*batch(0, 0), LossConfig())


@pytest.mark.parametrize(
    "settings", [{"lambda_sd": -1.0}, {"lambda_vd": math.nan}, {"lambda_vd": math.inf}, {"label_smoothing": 1.0}]
)
def test_settings_without_sense_are_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        LossConfig(**settings)
