"""Latent-variable models: variational autoencoders, belief networks, variational posteriors."""

from flowkit.metrics.samples import squared_mmd
from flowkit.vae.amortised import ConditionalPosterior, fit_conditional
from flowkit.vae.belief import Bits, SigmoidBeliefNetwork
from flowkit.vae.diagnostics import Diagnostics
from flowkit.vae.draw import Draw
from flowkit.vae.ladder import HierarchicalVAE, LadderDecoder, LadderEncoder, LadderVAE
from flowkit.vae.model import VAE
from flowkit.vae.networks import Networks, networks
from flowkit.vae.objectives import (
    DIP,
    KL,
    MMD,
    Factor,
    Term,
    TotalCorrelation,
    dip,
    dip_penalty,
    factor,
    kl,
    mmd,
    total_correlation,
    total_correlation_of,
)
from flowkit.vae.posteriors import posterior
from flowkit.vae.tables import TableLikelihood
from flowkit.vae.variational import Posterior, fit_posterior

__all__ = [
    "DIP",
    "KL",
    "MMD",
    "VAE",
    "Bits",
    "ConditionalPosterior",
    "Diagnostics",
    "Draw",
    "Factor",
    "HierarchicalVAE",
    "LadderDecoder",
    "LadderEncoder",
    "LadderVAE",
    "Networks",
    "Posterior",
    "SigmoidBeliefNetwork",
    "TableLikelihood",
    "Term",
    "TotalCorrelation",
    "dip",
    "dip_penalty",
    "factor",
    "fit_conditional",
    "fit_posterior",
    "kl",
    "mmd",
    "networks",
    "posterior",
    "squared_mmd",
    "total_correlation",
    "total_correlation_of",
]
