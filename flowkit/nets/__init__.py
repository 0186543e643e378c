"""Networks: conditioners, encoders and decoders."""

from flowkit.nets.convnet import ConvDecoder, ConvEncoder
from flowkit.nets.kernels import KernelError, build_kernels
from flowkit.nets.made import MADE
from flowkit.nets.mlp import MLP
from flowkit.nets.pixelcnn import PixelCNN
from flowkit.nets.resnet import ResNet

__all__ = [
    "MADE",
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "KernelError",
    "PixelCNN",
    "ResNet",
    "build_kernels",
]
