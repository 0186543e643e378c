"""Adversarial models: generators and flows trained against critics, adversarial autoencoders."""

from flowkit.distributions.factorized import Factorized
from flowkit.gan.autoencoders import AdversarialAutoencoder, Codes, PixelGANAutoencoder
from flowkit.gan.classifier import ImageClassifier, Judgement
from flowkit.gan.critics import (
    CriticEstimate,
    clip_weights_,
    critic_estimate,
    gradient_penalty,
    slopes,
    spectral_norm_,
)
from flowkit.gan.flow_gan import FlowGAN
from flowkit.gan.generators import Generator, generate, interpolate
from flowkit.gan.losses import Game, hinge, least_squares, non_saturating, wasserstein
from flowkit.gan.model import GAN, WGAN
from flowkit.gan.networks import Networks, networks
from flowkit.gan.schedule import CriticSchedule
from flowkit.gan.snapshots import Snapshots
from flowkit.gan.tables import DequantizedTable

__all__ = [
    "GAN",
    "WGAN",
    "AdversarialAutoencoder",
    "Codes",
    "CriticEstimate",
    "CriticSchedule",
    "DequantizedTable",
    "Factorized",
    "FlowGAN",
    "Game",
    "Generator",
    "ImageClassifier",
    "Judgement",
    "Networks",
    "PixelGANAutoencoder",
    "Snapshots",
    "clip_weights_",
    "critic_estimate",
    "generate",
    "gradient_penalty",
    "hinge",
    "interpolate",
    "least_squares",
    "networks",
    "non_saturating",
    "slopes",
    "spectral_norm_",
    "wasserstein",
]
