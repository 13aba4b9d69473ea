import pytest
import torch
from small_teachers import make_speech_base
from transformers import HubertModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from liser_ray.finetuning.config import LoraSettings
from liser_ray.finetuning.model import build_model
from liser_ray.runtime.errors import UserError
from liser_ray.training.fit import trained_weights

CPU = torch.device("cpu")


def test_only_updates_and_head_are_trained(base):
    model = build_model(base, 3, LoraSettings(rank=2), 0, CPU)
    before = {name: value.clone() for name, value in model.named_parameters()}
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(2):  # LoRA's second matrix is zero at first, and with it the gradient of the first
        model(input_values=torch.randn(2, 8000)).logits.square().sum().backward()
        optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    with_gradient = {name for name, value in model.named_parameters() if value.grad is not None}
    trained = {name for name in before if ".lora_" in name or "modules_to_save" in name}
    assert moved == with_gradient == trained == set(trained_weights(model))
    assert sum(".lora_" in name for name in trained) == 2 * 4 * 2  # two matrices, four projections, two layers


def test_a_new_model_hears_what_its_base_hears(base, tmp_path):
    waveform = torch.randn(1, 8000)
    model = build_model(base, 3, LoraSettings(), 0, CPU).eval()
    plain = HubertModel.from_pretrained(base).eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            model.base_model.model.hubert(waveform).last_hidden_state, plain(waveform).last_hidden_state
        )


def test_the_seed_decides_on_the_new_weights(base):
    one, same, other = (trained_weights(build_model(base, 3, LoraSettings(), seed, CPU)) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_updates_that_would_change_nothing_are_refused(tmp_path):
    config = WavLMConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        num_buckets=20,
    )
    WavLMModel(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="would change nothing in a wavlm model") as error:
        build_model(tmp_path, 3, LoraSettings(), 0, CPU)
    assert "--lora.targets" in str(error.value)
    build_model(tmp_path, 3, LoraSettings(targets=["intermediate_dense", "output_dense"]), 0, CPU)


def test_targets_that_are_not_there_are_named_beside_those_that_are(base):
    with pytest.raises(UserError, match="query_key") as error:
        build_model(base, 3, LoraSettings(targets=["query_key"]), 0, CPU)
    assert "out_proj" in str(error.value)


def test_layer_drop_is_off_and_spec_augment_as_the_base_has_it(tmp_path):
    model = build_model(make_speech_base(tmp_path, layerdrop=0.5, mask_time_prob=0.3), 3, LoraSettings(), 0, CPU)
    assert model.config.layerdrop == 0
    assert model.config.mask_time_prob == 0.3
    model.train()
    kwargs = {"input_values": torch.randn(1, 16_000)}
    assert not torch.equal(model(**kwargs).logits, model(**kwargs).logits)
