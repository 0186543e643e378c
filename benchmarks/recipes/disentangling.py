"""Rows of representations, scored with known factors."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowkit.metrics import active_units, beta_vae_score, factor_vae_score, mig, sap
from flowkit.vae import dip, factor, kl
from recipes.latent import load, make_vae, train_on
from recipes.measured import Measured
from recipes.recipe import Recipe
from tabular_data import shapes

_POINTS, _PAIRS = 500, 32
_KNOWN = 10_000  # pictures whose factors are compared with latents


def terms_of(model: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the terms of an objective by name."""
    return {
        "vae": lambda: (kl(),),
        "beta-vae": lambda: (kl(beta=options["beta"]),),
        "dip-vae-i": lambda: (kl(), dip("i", lambda_od=options["lambda_od"])),
        "dip-vae-ii": lambda: (kl(), dip("ii", lambda_od=options["lambda_od"])),
        "factor-vae": lambda: (kl(), factor(options["latents"], gamma=options["gamma"])),
    }[model]()


def measure(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Train on images alone; score by the beta-VAE metric, and note other metrics."""
    del split
    rows, options = load("shapes2d"), dict(recipe.options)
    torch.manual_seed(recipe.seed)  # of the discriminator's weights, too
    terms = terms_of(recipe.model, options)
    for name in ("beta", "lambda_od", "gamma"):
        options.pop(name, None)
    plain = Recipe(recipe.row, recipe.data, "vae", options=options, seed=recipe.seed)
    trained = train_on(
        recipe, lambda: make_vae(plain, rows), minutes, path, terms=terms, **recipe.training
    )
    model: Any = trained.model

    @torch.no_grad()
    def represent(codes: np.ndarray) -> np.ndarray:
        parts = np.array_split(codes, max(len(codes) // 500, 1))
        pictures = (torch.from_numpy(shapes.render(part)).float() for part in parts)
        return torch.cat([model.represent(x) for x in pictures]).numpy()

    rng = np.random.default_rng(1)
    known, others = (shapes.sample_factors(n, rng) for n in (_KNOWN, _KNOWN // 2))
    z, z_others = represent(known), represent(others)
    with torch.no_grad():
        drawn = model.draw(rows.test[:1_000])
        nats = drawn.kl_of_latents.sum(-1).mean()
    scores = {
        "sap": sap(z, known, z_others, others).score,
        "mig": mig(z, known),
        "factor_vae_score": factor_vae_score(
            represent, shapes.SIZES, rows=_PAIRS, train=_POINTS, test=_POINTS
        ),
        "reconstruction": -float(drawn.log_likelihood.mean()),
        "kl": float(nats),
        "active_units": float(active_units(z)),
    }
    beta = beta_vae_score(represent, shapes.SIZES, pairs=_PAIRS, train=_POINTS, test=_POINTS)
    detail = (
        f"SAP {scores['sap']:.3f}, MIG {scores['mig']:.3f}, FactorVAE score "
        f"{scores['factor_vae_score']:.2f}, reconstruction {scores['reconstruction']:.1f} nats, "
        f"KL {scores['kl']:.1f}, {scores['active_units']:.0f} active latents"
    )
    return Measured(torch.tensor([beta]), trained.notes(), rows.part, detail, scores)
