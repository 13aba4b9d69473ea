"""What LoRA trains: a frozen speech model with updates of its attention and a new head."""

import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from liser_ray.finetuning.config import LoraSettings
from liser_ray.finetuning.heads_beside import answers_to_teachers, put_heads_beside
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.projected_head import ProjectedHead
from liser_ray.teachers.speech_inputs import Preparation, read_preparation
from liser_ray.teachers.speech_models import HEAD, linear_layers, load_base
from liser_ray.teachers.transformers_folders import quiet


def build_model(
    base_folder: Path,
    n_labels: int,
    lora: LoraSettings,
    seed: int,
    device: torch.device,
    projections: Mapping[str, int] | None = None,
    heads: Mapping[str, int] | None = None,
) -> PeftModel:
    """A base model from disk, frozen, with LoRA updates (zero at first) and a new head.

    The head is Transformers' own, mostly a linear projection, the mean over time and a linear layer. LayerDrop is off:
    a layer that is skipped leaves its updates without a gradient, which data-parallel training can't synchronise.

    Args:
        base_folder: of a speech model with or without a head; the one it may have is replaced.
        n_labels: K.
        lora: rank, scale and targets.
        seed: of the new weights; PyTorch's global generator is set to it.
        device: where the model goes.
        projections: sizes, by name: the last layer is then EmoDistill's.
        heads: sizes of heads beside the last layer, by the names of their targets.

    Raises:
        UserError: the folder holds no such model, lacks weights of it, or has none of the LoRA targets.
    """
    base = load_base(base_folder, device)
    base.refuse_missing()
    model = base.model
    model.config.layerdrop = 0.0
    model.config.mask_time_min_masks = 0  # two spans of .2 s, however short the piece, would be most of one of .5 s
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # frozen too, and no adapter would keep its statistics
            module.train = types.MethodType(lambda self, mode=True: nn.Module.train(self, False), module)  # type: ignore[method-assign]
            module.eval()
    for module in model.modules():  # Whisper's encoder has it from its configuration by now
        if hasattr(module, "layerdrop"):
            module.layerdrop = 0.0  # type: ignore[assignment]
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()  # type: ignore[operator]  # or gradients would run through the convolutions
    torch.manual_seed(seed)
    *earlier, last = linear_layers(model, HEAD)
    for name in (*earlier, last):
        old = model.get_submodule(name)
        assert isinstance(old, nn.Linear)
        layer = nn.Linear(old.in_features, n_labels if name == last else old.out_features)
        nn.init.normal_(layer.weight, std=getattr(model.config, "initializer_range", 0.02))
        nn.init.zeros_(layer.bias)
        model.set_submodule(name, layer.to(device))
    if projections:
        model.set_submodule(last, ProjectedHead(layer.in_features, projections, n_labels).to(device))
    put_heads_beside(model, last, layer.in_features, heads or {})
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # fractions work
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        modules_to_save=[name for name in HEAD if hasattr(model, name)],
    )
    try:
        with quiet():
            tuned = get_peft_model(model, settings)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, nn.Linear)}
        raise UserError(
            f"LoRA can't be put on {', '.join(lora.targets)} of {base_folder}: "
            f"{str(error).partition(chr(10))[0]} Linear layers there: {', '.join(sorted(linear))}."
        ) from error
    refuse_idle_parameters(tuned, read_preparation(base_folder, model))
    return tuned


def refuse_idle_parameters(model: PeftModel, prepare: Preparation) -> None:
    """Raise a `UserError` if training would leave some of the LoRA updates or the head as they are.

    WavLM's attention, for one, reads its projections' weights without calling them, so LoRA there does nothing.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    noise = np.random.default_rng(0).normal(0, 3000, SAMPLE_RATE_HZ).astype(np.int16)
    inputs = {name: one.to(model.device) for name, one in prepare.pieces([noise]).items()}
    model.eval()
    answers = [model(**inputs).logits, *answers_to_teachers(model).values()]
    torch.stack([one.sum() for one in answers]).sum().backward()
    idle = sorted({name.partition(".lora_")[0].rpartition(".")[2] for name, p in trained.items() if p.grad is None})
    model.zero_grad(set_to_none=True)
    if idle:
        raise UserError(
            f"Updates of {', '.join(idle)} would change nothing in a {model.config.model_type} model, which reads "
            "these layers' weights without calling them. Give other --lora.targets, such as "
            "intermediate_dense output_dense, or another --base."
        )
