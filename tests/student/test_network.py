import copy

import pytest
import torch

from liser_ray.runtime.errors import UserError
from liser_ray.student.chunks import CHUNK_FRAMES
from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import BandStatistics
from liser_ray.student.network import EmotionClassifier, StudentNetwork, count_parameters

HEADS = {"speech": 8, "face": 7}


@pytest.fixture
def log_mel():
    return torch.randn(3, 64, 94, generator=torch.Generator().manual_seed(1)) * 3 - 5


def student(**settings):
    torch.manual_seed(0)
    return StudentNetwork(8, HEADS, NetworkConfig(**settings))


def with_weights_of(other, **settings):
    """A student with other settings and the weights that both have."""
    built = student(**settings)
    missing, unexpected = built.load_state_dict(other.state_dict(), strict=False)
    assert not unexpected
    return built, missing


def shapes(logits):
    return {"supervised": logits.supervised.shape} | {name: one.shape for name, one in logits.teachers.items()}


class TestSize:
    @pytest.mark.parametrize(("n_labels", "n_parameters"), [(8, 105_143), (6, 104_947)])
    def test_parameters_are_the_papers_105_thousand(self, n_labels, n_parameters):
        assert count_parameters(StudentNetwork(n_labels, {"speech": n_labels, "face": 7})) == n_parameters

    def test_prediction_needs_blocks_1_to_5_only_and_labels_alone_no_other(self):
        assert count_parameters(EmotionClassifier(8)) == count_parameters(StudentNetwork(8, {})) == 100_488

    def test_projections_are_not_needed_to_predict_either(self, log_mel):
        network = StudentNetwork(8, {"face": 7}, projections={"face": 5, "words": 32})
        assert count_parameters(network.classifier) == 100_488
        of_projections = sum(64 * 32 + 32 + 32 * n + n for n in (5, 32))
        assert count_parameters(network) == count_parameters(StudentNetwork(8, {"face": 7})) + of_projections
        expected = {"supervised": (3, 8), "face": (3, 7), "face.embedding": (3, 5), "words.embedding": (3, 32)}
        assert shapes(network(log_mel)) == expected

    def test_sizes_are_settings(self):
        small = student(pooling="attention", filters=(8, 12, 20), hidden_size=10, bidirectional=True)
        convolutions = 8 * 9 + 8 * 12 * 9 + 12 * 20 * 3 + 3 * (8 + 12 + 20)  # weights, biases, batch norm
        lstm = 2 * 4 * 10 * (2 * 20 + 10 + 2)
        assert count_parameters(small.classifier) == convolutions + lstm + 20 + 20 * 8 + 8
        assert shapes(small(torch.randn(2, 64, 94))) == {"supervised": (2, 8), "speech": (2, 8), "face": (2, 7)}

    @pytest.mark.parametrize(
        ("settings", "word"),
        [
            ({"filters": (0, 1, 1)}, "filters"),
            ({"hidden_size": 5000}, "hidden_size"),
            ({"bidirectional": True}, "pooling"),
            ({"dropout": 1.0}, "dropout"),
            ({"dropout": -0.1}, "dropout"),
        ],
    )
    def test_settings_without_sense_are_refused(self, settings, word):
        with pytest.raises(UserError, match=word):
            NetworkConfig(**settings)


class TestShapes:
    def test_blocks_are_as_in_the_paper(self, log_mel):
        network = student().classifier
        seen = []
        for block in (*network.convolutions, network.lstm, network.pooling):
            block.register_forward_hook(
                lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out).shape)
            )
        network(log_mel)
        assert network.convolutions[2][0].weight.shape == (64, 64, 3, 1)  # the first axis of a kernel is frequency
        assert seen == [(3, 64, 32, 47), (3, 64, 8, 23), (3, 64, 2, 23), (3, 23, 64), (3, 64)]

    def test_every_head_has_its_labels(self, log_mel):
        torch.manual_seed(0)
        logits = StudentNetwork(6, {"type": 5, "energy": 1})(log_mel)
        assert shapes(logits) == {"supervised": (3, 6), "type": (3, 5), "energy": (3, 1)}

    @pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
    @pytest.mark.parametrize("frames", [4, 94, 300])
    def test_any_length_from_4_frames_on_gives_one_prediction(self, pooling, frames):
        assert student(pooling=pooling).classifier(torch.randn(2, 64, frames)).shape == (2, 8)

    def test_lstm_steps_follow_time(self, log_mel):
        network = student().eval()
        changed = log_mel.clone()
        changed[:, :, 60:] += 5
        steps = []
        network.classifier.lstm.register_forward_hook(lambda _, __, out: steps.append(out[0]))
        network(log_mel)
        network(changed)
        # Four frames are a step, and the kernels reach less than a step back: the change begins in step 14 or 15.
        before, after = steps
        torch.testing.assert_close(before[:, :14], after[:, :14])
        assert ((before[:, 15:] - after[:, 15:]).abs().amax(dim=(0, 2)) > 1e-3).all()


class TestPrediction:
    def test_classifier_does_not_compute_the_distillation_heads(self, log_mel):
        network = student()
        for head in network.heads.values():
            head.register_forward_hook(lambda *_: pytest.fail("computed"))
        network.classifier(log_mel)

    def test_classifier_loads_from_its_part_of_the_weights(self, log_mel):
        trained, fresh = student().eval(), EmotionClassifier(8).eval()
        fresh.load_state_dict(trained.classifier.state_dict())
        assert torch.equal(fresh(log_mel), trained(log_mel).supervised)


@pytest.mark.parametrize("shape", [(1, 64, 4), (3, 64, 94), (2, 64, 301)])
def test_the_first_blocks_batch_norm_is_the_one_of_pytorch(shape):
    log_mel = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3 - 5
    ours = student().double().classifier.convolutions[0]
    theirs = torch.nn.Sequential(*copy.deepcopy(ours))
    answers = [block(log_mel.unsqueeze(1)) for block in (ours, theirs)]
    torch.testing.assert_close(*answers)
    weights = torch.linspace(-1, 1, answers[0].numel(), dtype=torch.float64).view_as(answers[0])
    for answer in answers:
        (answer * weights).sum().backward()
    torch.testing.assert_close(*(block[0].weight.grad for block in (ours, theirs)))
    torch.testing.assert_close(*(block[1].weight.grad for block in (ours, theirs)))
    torch.testing.assert_close(*(block[1].bias.grad for block in (ours, theirs)))
    assert not ours[0].bias.grad.any()  # cancels; PyTorch's is what rounding leaves
    torch.testing.assert_close(ours.state_dict(), dict(theirs.state_dict()))


@pytest.mark.parametrize("own", ["classifier.head", "heads.speech", "heads.face"])
def test_every_head_trains_itself_and_what_all_share(log_mel, own):
    network = student()
    logits = network(log_mel)
    logits.teachers.get(own.partition(".")[2], logits.supervised).square().sum().backward()
    others = tuple({"classifier.head", "heads.speech", "heads.face"} - {own})
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(others), name


def test_projections_do_not_change_the_first_weights_of_the_rest(log_mel):
    torch.manual_seed(0)
    plain = StudentNetwork(8, HEADS)
    torch.manual_seed(0)
    other = StudentNetwork(8, HEADS, projections={"words": 4})
    assert other.load_state_dict(plain.state_dict(), strict=False).missing_keys == [
        f"projections.words_projection.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")
    ]
    assert torch.equal(other(log_mel).supervised, plain(log_mel).supervised)


class TestVariants:
    def test_mean_is_over_time(self):
        steps = torch.randn(2, 23, 64)
        torch.testing.assert_close(student(pooling="mean").classifier.pooling(steps), steps.mean(dim=1))

    def test_attention_weighs_steps_by_their_score(self):
        pooling = student(pooling="attention").classifier.pooling
        steps = torch.randn(1, 4, 64)
        weights = torch.exp(steps[0] @ pooling.score.weight[0])
        expected = (weights[:, None] * steps[0]).sum(dim=0) / weights.sum()
        torch.testing.assert_close(pooling(steps)[0], expected)

    @pytest.mark.parametrize("pooling", ["mean", "attention"])
    def test_pooling_changes_the_pooling_alone(self, log_mel, pooling):
        plain = student().eval()
        other, missing = with_weights_of(plain, pooling=pooling)
        assert missing == (["classifier.pooling.score.weight"] if pooling == "attention" else [])
        other.eval()
        assert torch.equal(
            plain.classifier.convolutions(log_mel[:, None]), other.classifier.convolutions(log_mel[:, None])
        )
        assert not torch.allclose(plain(log_mel).supervised, other(log_mel).supervised)

    @pytest.mark.parametrize("pooling", ["last", "attention"])
    def test_attention_weighs_what_is_made_of_each_chunk(self, log_mel, pooling):
        plain = student(pooling=pooling).eval()
        chunked, missing = with_weights_of(plain, pooling=pooling, chunks=4)
        assert missing == ["classifier.over_chunks.score.weight"]
        assert count_parameters(chunked) == count_parameters(plain) + 64
        starts = [0, 20, 41, 62]  # of 94 frames
        chunks = [plain.classifier.encode(log_mel[:, :, start : start + CHUNK_FRAMES]) for start in starts]
        shares = torch.stack([one @ chunked.classifier.over_chunks.score.weight[0] for one in chunks]).softmax(dim=0)
        expected = sum(share[:, None] * one for share, one in zip(shares, chunks, strict=True))
        torch.testing.assert_close(chunked.eval().classifier.encode(log_mel), expected)

    def test_with_chunks_every_frame_is_heard(self, log_mel):
        network = student(chunks=3).eval()
        before = network.classifier(log_mel[:1])
        for frame in (0, 31, 32, 62, 93):
            changed = log_mel[:1].clone()
            changed[:, :, frame] += 10
            assert not torch.allclose(network.classifier(changed), before)

    def test_dropout_hides_half_of_the_vector_in_training_only(self, log_mel):
        plain = student()
        dropping, _ = with_weights_of(plain, dropout=0.5)
        one, other = plain.eval()(log_mel), dropping.eval()(log_mel)
        assert torch.equal(one.supervised, other.supervised)
        for name in HEADS:
            assert torch.equal(one.teachers[name], other.teachers[name])
        torch.manual_seed(0)
        dropping.train()
        hidden = torch.stack([dropping.classifier.encode(log_mel) == 0 for _ in range(10)])
        assert hidden.float().mean() == pytest.approx(0.5, abs=0.05)

    def test_normalisation_by_utterance_is_none_of_the_networks_business(self, log_mel):
        plain = student().eval()
        other, _ = with_weights_of(plain, normalisation="utterance")
        assert torch.equal(plain(log_mel).supervised, other.eval()(log_mel).supervised)

    def test_normalisation_by_corpus_is_the_classifiers_and_saved_with_it(self, log_mel):
        plain = student().eval()
        other, missing = with_weights_of(plain, normalisation="corpus")
        assert missing == ["classifier.normalisation.mean", "classifier.normalisation.std"]
        statistics = BandStatistics(torch.full((64, 1), -5.0), torch.full((64, 1), 2.0))
        other.eval().classifier.normalisation.set_corpus(statistics)
        assert torch.equal(plain((log_mel + 5) / 2).supervised, other(log_mel).supervised)
        again = student(normalisation="corpus")
        again.load_state_dict(other.state_dict())
        assert torch.equal(again.eval()(log_mel).supervised, other(log_mel).supervised)
