"""MobileFaceNet for 68 face landmarks, of which S2D uses one feature map as guidance.

Architecture: Chen et al. 2018, "MobileFaceNets", with 136 outputs as in the PyTorch Face Landmark project, whose file
``mobilefacenet_model_best.pth.tar`` S2D ships. The names of the submodules are those of the file's 333 keys.
"""

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.teachers.weights import load_strictly, read_checkpoint

LANDMARK_HINT = (
    "Get S2D's landmark network (mobilefacenet_model_best.pth.tar, docs/label.md) and give its path, s3:// or hf:// "
    "address:"
)
INPUT_PX = 112
FEATURE_CHANNELS = 128
FEATURE_PX = 14


def in_turn(**modules: nn.Module) -> nn.Sequential:
    """Modules one after the other, each under its name in the published keys."""
    return nn.Sequential(OrderedDict(modules))


def conv_block(
    c_in: int, c_out: int, kernel: int = 1, stride: int = 1, depthwise: bool = False, linear: bool = False
) -> nn.Sequential:
    """Bias-free convolution and batch norm, with a PReLU (one slope per channel) unless ``linear``."""
    padding, groups = (1 if kernel == 3 else 0), (c_in if depthwise else 1)
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=padding, groups=groups, bias=False)
    block = in_turn(conv=conv, bn=nn.BatchNorm2d(c_out))
    if not linear:
        block.add_module("prelu", nn.PReLU(c_out))
    return block


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1x1 to ``c_mid`` channels, depthwise 3x3, linear 1x1 to ``c_out``."""

    def __init__(self, c_in: int, c_mid: int, c_out: int, stride: int = 1, residual: bool = False):
        super().__init__()
        self.conv = conv_block(c_in, c_mid)
        self.conv_dw = conv_block(c_mid, c_mid, kernel=3, stride=stride, depthwise=True)
        self.project = conv_block(c_mid, c_out, linear=True)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[N, c_in, H, W] to [N, c_out, H / stride, W / stride]."""
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


def residual_bottlenecks(n: int, channels: int, c_mid: int) -> nn.Sequential:
    """``n`` at one resolution."""
    return in_turn(model=nn.Sequential(*(Bottleneck(channels, c_mid, channels, residual=True) for _ in range(n))))


class MobileFaceNet(nn.Module):
    """The landmark network; `forward` stops at the map that S2D reads (56 % of the parameters, 88 % of the work)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_block(3, 64, kernel=3, stride=2)
        self.conv2_dw = conv_block(64, 64, kernel=3, depthwise=True)
        self.conv_23 = Bottleneck(64, 128, 64, stride=2)
        self.conv_3 = residual_bottlenecks(4, 64, 128)
        self.conv_34 = Bottleneck(64, 256, 128, stride=2)
        self.conv_4 = residual_bottlenecks(6, 128, 256)
        # From here on the layers find the landmarks themselves, which S2D does not use.
        self.conv_45 = Bottleneck(128, 512, 128, stride=2)
        self.conv_5 = residual_bottlenecks(2, 128, 256)
        self.conv_6_sep = conv_block(128, 512)
        self.output_layer = in_turn(
            conv_6_dw=conv_block(512, 512, kernel=7, depthwise=True, linear=True),
            flatten=nn.Flatten(),
            linear=nn.Linear(512, 136, bias=False),
            bn=nn.BatchNorm1d(136),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Guidance features.

        Args:
            frames: float [N, 3, H, W], RGB, ImageNet-normalised (not what the network was trained on, but what S2D's
                checkpoints were fitted with). Scaled to 112 x 112 here, corners aligned, no antialiasing.

        Returns:
            float [N, 128, 14, 14]
        """
        return self._guidance(F.interpolate(frames, (INPUT_PX, INPUT_PX), mode="bilinear", align_corners=True))

    def points(self, frames: Tensor) -> Tensor:
        """The 68 landmarks (those of iBUG 300-W, in its order).

        Args:
            frames: float [N, 3, H, W], RGB, 0..1, as it was trained on, of square cuts around the face.

        Returns:
            float [N, 68, 2], x and y as shares of the picture's side.
        """
        x = self._guidance(F.interpolate(frames, (INPUT_PX, INPUT_PX), mode="bilinear", antialias=True))
        x = self.conv_6_sep(self.conv_5(self.conv_45(x)))
        points: Tensor = self.output_layer(x)
        return points.unflatten(1, (68, 2))

    def _guidance(self, x: Tensor) -> Tensor:
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        return self.conv_4(self.conv_34(self.conv_3(x)))


def load_mobilefacenet(path: Path) -> MobileFaceNet:
    """The network with the weights of a file, on the CPU; UserError if they are another network's."""
    with torch.device("meta"):
        empty = MobileFaceNet()
    return load_strictly(empty, read_checkpoint(path), "S2D's landmark network, MobileFaceNet")


def new_mobilefacenet(seed: int) -> MobileFaceNet:
    """A network with random weights, in evaluation mode: for tests and for the demo, whose S2D is fitted to it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MobileFaceNet().eval()
