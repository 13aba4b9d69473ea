"""S2D's video transformer, written from its published description; keys and numbers match the authors' checkpoints.

Chen et al. 2024, "From Static to Dynamic: Adapting Landmark-Aware Image Models for Facial Expression Recognition in
Videos" (IEEE Transactions on Affective Computing). A ViT sees every frame alone. Before each of its blocks a *prompter*
adds two things to the patch tokens: a *prompt*, in which landmark features guide the appearance, and the output of a
*temporal adapter*, the only place besides the final mean where frames see each other.

Shapes: B clips, T frames, N = B * T pictures (clip-major), 196 patches (14 x 14, row by row), D = ``embed_dim``.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.mobilefacenet import FEATURE_CHANNELS, FEATURE_PX, in_turn
from liser_ray.teachers.weights import Checkpoint, load_strictly, save_checkpoint

INPUT_PX = 224
PATCH_PX = 16
N_PATCHES = FEATURE_PX**2
PROMPT_DIM = 8
ADAPTER_HEADS = 8
HEAD_DIM = 64  # of the published networks: what the number of heads follows from, since no tensor's shape tells it


@dataclass(frozen=True)
class S2DConfig:
    """Sizes of the network; the defaults are the FERV39k one (95,055,571 parameters)."""

    embed_dim: int = 768
    depth: int = 12
    heads: int = 12
    frames: int = 16
    num_classes: int = 7

    @property
    def adapter_dim(self) -> int:
        """Inner width of the temporal and spatial adapters."""
        return int(0.25 * self.embed_dim)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, applied to tokens as the matrix product that it is."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, kernel_size=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., C_in] to [..., C_out]."""
        return F.linear(tokens, self.weight.flatten(1), self.bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the middle axis."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, dim] to the same."""
        batch, length, dim = x.shape
        # One product over all tokens: without a bias, linear makes one per row of a batch, each with its own weights.
        tokens = self.qkv(x.reshape(-1, dim))
        q, k, v = tokens.view(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))


class Block(nn.Module):
    """Pre-norm ViT block over the tokens of one picture."""

    def __init__(self, config: S2DConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = SelfAttention(config.embed_dim, config.heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        dim = config.embed_dim
        self.mlp = in_turn(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 197, D] to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Adapter(nn.Module):
    """Bottleneck without a skip; with ``frames`` it attends over time at each patch position."""

    def __init__(self, config: S2DConfig, frames: int | None = None):
        super().__init__()
        self.frames = frames
        self.D_fc1 = nn.Linear(config.embed_dim, config.adapter_dim)
        self.D_fc2 = nn.Linear(config.adapter_dim, config.embed_dim)
        if frames:
            self.attn = SelfAttention(config.adapter_dim, ADAPTER_HEADS, qkv_bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 196, D] to the same."""
        x = F.gelu(self.D_fc1(x))
        if self.frames:
            # Regrouped inside the bottleneck, where the tokens are a quarter as wide as outside.
            pictures, patches, dim = x.shape
            by_time = x.view(-1, self.frames, patches, dim).transpose(1, 2)
            mixed = self.attn(by_time.reshape(-1, self.frames, dim)).view(by_time.shape)
            x = mixed.transpose(1, 2).contiguous().view(pictures, patches, dim)  # what linear is fast with
        return self.D_fc2(x)


def temporal_modelling(config: S2DConfig) -> nn.Sequential:
    """Temporal adapter, layer norm (of another epsilon than all others), spatial adapter: [N, 196, D] to the same."""
    norm = nn.LayerNorm(config.embed_dim, eps=1e-5)
    return in_turn(T_Adapter=Adapter(config, config.frames), norm=norm, S_Adapter=Adapter(config))


class Fovea(nn.Module):
    """Weighs each channel's map by its own softmax over the positions, sharpened by ``smooth``."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Parameter(torch.full((1,), 10.0))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 196, C] to the same."""
        # A sharpness of exactly 0 means "as it is", not a flat map: so the published network has it.
        sharpness = torch.where(self.smooth == 0, 1.0, self.smooth)
        return (sharpness * x).softmax(dim=1) * x


class Prompter(nn.Module):
    """From normalised appearance and guidance tokens to the prompt and the adapters' output.

    Both are added to the tokens; the prompt alone is the guidance of the next prompter.
    """

    def __init__(self, config: S2DConfig):
        super().__init__()
        self.conv0_0 = Pointwise(config.embed_dim, PROMPT_DIM)
        self.conv0_1 = Pointwise(config.embed_dim, PROMPT_DIM)
        self.conv1x1 = Pointwise(PROMPT_DIM, config.embed_dim)
        self.fovea = Fovea()
        self.TMA = temporal_modelling(config)

    def forward(self, appearance: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Appearance and guidance, each [N, 196, D], to prompt and adapted tokens of the same shape."""
        prompt = self.conv1x1(self.fovea(self.conv0_0(appearance)) + self.conv0_1(guidance))
        return prompt, self.TMA(appearance)


class VideoTransformer(nn.Module):
    """S2D without its landmark network. A new one has the random weights that training starts from."""

    def __init__(self, config: S2DConfig):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + N_PATCHES, dim))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, config.frames, dim))
        self.patch_embed = in_turn(proj=nn.Conv2d(3, dim, PATCH_PX, stride=PATCH_PX))
        self.patch_embed_prompt = in_turn(proj=Pointwise(FEATURE_CHANNELS, dim))
        self.prompt_blocks = nn.ModuleList(Prompter(config) for _ in range(config.depth))
        self.prompt_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(config.depth))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.ln_post = nn.LayerNorm(dim, eps=1e-6)
        self.head = in_turn(fc_cls=nn.Linear(dim, config.num_classes))
        if not self.cls_token.is_meta:  # nothing to fill, and PyTorch would import its compiler for it: 4 s
            self._initialise()

    def _initialise(self) -> None:
        for embedding in (self.cls_token, self.pos_embed, self.temporal_embedding):
            nn.init.trunc_normal_(embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for prompter in self.prompt_blocks:
            for module in prompter.modules():
                if isinstance(module, Pointwise):
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, clips: Tensor, landmark_features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and clip features.

        Args:
            clips: float [B, T, 3, 224, 224], RGB, ImageNet-normalised, T as configured.
            landmark_features: float [B * T, 128, 14, 14], `MobileFaceNet` of the same pictures.

        Returns:
            logits [B, num_classes] and features [B, D].
        """
        n_clips, n_frames = clips.shape[:2]
        if n_frames != self.config.frames:
            raise ValueError(f"Clips of {n_frames} frames, but this network takes {self.config.frames}.")
        tokens = self.patch_embed(clips.flatten(0, 1)).flatten(2).transpose(1, 2)  # [N, 196, D]
        guidance = self.patch_embed_prompt(landmark_features.flatten(2).transpose(1, 2))

        # The first prompter works before class token and positions are there, the others right before their block.
        guidance, tokens = self._prompt(0, self.prompt_norms[0], tokens, guidance)
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        x = x + self.temporal_embedding[0].repeat(n_clips, 1)[:, None]
        for i, block in enumerate(self.blocks):
            if i >= 1:
                # The norm's index lags by one: norm 0 serves prompters 0 and 1, and the last norm nobody.
                guidance, patches = self._prompt(i, self.prompt_norms[i - 1], x[:, 1:], guidance)
                x = torch.cat([x[:, :1], patches], dim=1)
            x = block(x)
        features = self.ln_post(x[:, 0]).view(n_clips, n_frames, -1).mean(dim=1)
        return self.head(features), features

    def _prompt(self, i: int, norm: nn.Module, patches: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """The next guidance, and the patch tokens with prompter ``i``'s outputs added."""
        # Guidance is normalised by norm 0 in every block.
        prompt, adapted = self.prompt_blocks[i](norm(patches), self.prompt_norms[0](guidance))
        return prompt, patches + adapted + prompt


def load_s2d(checkpoint: Checkpoint) -> VideoTransformer:
    """The network of a checkpoint, in evaluation mode, float32, on the CPU.

    Raises:
        UserError: if the checkpoint is not one of this network; with the keys that differ.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    if "norm.weight" in shapes and "temporal_embedding" not in shapes:
        raise UserError(
            f"{checkpoint.path} is S2D's pre-training on single pictures, which has no temporal parts. "
            "Take a checkpoint that is fine-tuned on video, such as FERV39k's."
        )
    embed_dim, heads = shapes.get("cls_token", (0,))[-1], checkpoint.metadata.get("heads")
    if not heads and embed_dim % HEAD_DIM:
        raise UserError(
            f"S2D weights of width {embed_dim} don't tell their number of attention heads. "
            'Save them as safetensors with the metadata entry "heads" (save_s2d does).'
        )
    try:
        config = S2DConfig(
            embed_dim=embed_dim,
            depth=1 + max(int(match[1]) for key in shapes if (match := re.match(r"blocks\.(\d+)\.", key))),
            heads=int(heads or embed_dim // HEAD_DIM),
            frames=shapes["temporal_embedding"][1],
            num_classes=shapes["head.fc_cls.weight"][0],
        )
    except (KeyError, IndexError, ValueError):
        config = S2DConfig()  # the comparison of keys then says what is wrong
    with torch.device("meta"):  # no memory, no random numbers: what the checkpoint lacks can't be mistaken for weights
        network = VideoTransformer(config)
    return load_strictly(network, checkpoint, "S2D's video transformer")


def save_s2d(path: str | Path, network: VideoTransformer, labels: Sequence[str]) -> None:
    """Write a network with its labels as safetensors, so that it loads as a teacher with nothing else given.

    Raises:
        ValueError: if the number of labels is not the head's.
    """
    if len(labels) != network.config.num_classes:
        raise ValueError(f"{len(labels)} labels for {network.config.num_classes} outputs.")
    metadata = {"labels": json.dumps(list(labels)), "heads": str(network.config.heads)}
    save_checkpoint(path, network.state_dict(), metadata)
