"""Rows of latent-variable models."""

from recipes.recipe import Recipe

_SECTION = "Models with latents"
_ADAM = {"batch_size": 100, "learning_rate": 1e-3}
_DYNAMIC = "bits drawn anew in training; minutes instead of epochs"
_FLOWS = "Sylvester flows, table 1, as FFJORD's table 3 quotes it"

# Published are negative bounds.
_PUBLISHED = {"none": -86.55, "planar": -86.06, "IAF": -84.20, "Sylvester": -83.32}
_POSTERIORS = {
    "none": {},
    "planar": {"posterior": "planar", "layers": 16},
    "IAF": {"posterior": "iaf", "layers": 4, "hidden": (320,)},
    "Sylvester": {"posterior": "sylvester", "layers": 4, "rank": 32},
}
_FREY = {"none": 4.53, "planar": 4.40, "IAF": 4.47, "Sylvester": 4.45}


def _vae(name: str, seed: int) -> Recipe:
    return Recipe(
        f"VAE, MNIST, posterior flow: {name}" + (f", seed {seed}" if seed else ""),
        "mnist-bits",
        "vae",
        _PUBLISHED[name],
        {"net": "mlp-300", "latents": 64, **_POSTERIORS[name]},
        _ADAM | {"warm_up": 5_000},
        kind="vae",
        section=_SECTION,
        differs="two layers of 300 ReLUs each way; " + _DYNAMIC,
        bold=name in ("none", "IAF"),
        source=_FLOWS,
        seed=seed,
    )


AUTOENCODERS = [_vae(name, seed) for seed in (0, 1) for name in _PUBLISHED]
FREY = [
    Recipe(
        f"VAE, Frey faces, posterior flow: {name}",
        "frey",
        "vae",
        _FREY[name],
        {"net": "mlp-300", "latents": 64, **_POSTERIORS[name]},
        {"batch_size": 100, "learning_rate": 5e-4, "warm_up": 2_000, "patience": 60},
        kind="vae",
        section=_SECTION,
        differs="discretised logistic instead of 256 classes; own split; MLP instead of gated "
        "convolutions",
        source=_FLOWS,
        unit="bits/dim",
    )
    for name in ("none", "IAF")
]
IWAE = [
    Recipe(
        f"IWAE, MNIST, K = {k}",
        "mnist-bits",
        "likelihood",
        None,
        {"net": "iwae-200", "latents": 50},
        {"batch_size": 20, "learning_rate": 1e-3, "objective": "iwae", "samples": k, **precision},
        kind="vae",
        section=_SECTION,
        differs="likelihood of every tenth test row, 5,000 samples each; "
        + _DYNAMIC
        + ("; products in bfloat16" if precision else ""),
        bold=True,
        source="",
    )
    # Products of a thousand rows are twice as fast in bfloat16, those of twenty half as fast.
    for k, precision in ((1, {}), (50, {"precision": "bf16-mixed"}))
]
BELIEF = [
    Recipe(
        f"SBN 200-200, fixed binarisation, {name}, K = 5",
        "binarized_mnist",
        objective,
        published,
        {"layers": (200, 200)},
        {"batch_size": 50, "learning_rate": 1e-3, "objective": objective, "samples": 5},
        kind="belief",
        section=_SECTION,
        differs="likelihood of every tenth test row, 5,000 samples each; minutes instead of "
        "epochs" + ("; published is of one sample" if objective == "nvil" else ""),
        bold=True,
        source="Concrete distribution, table 1",
    )
    for name, objective, published in (("VIMCO", "vimco", -91.7), ("NVIL", "nvil", -92.9))
]
_SHAPES = {"net": "visual-concepts", "latents": 10}
_WEIGHTS = {
    "VAE": ("vae", {}),
    "beta-VAE": ("beta-vae", {"beta": 4.0}),
    "DIP-VAE-I": ("dip-vae-i", {"lambda_od": 10.0}),
    "DIP-VAE-II": ("dip-vae-ii", {"lambda_od": 20.0}),
    "FactorVAE": ("factor-vae", {"gamma": 10.0}),
}
DISENTANGLING = [
    Recipe(
        f"{name}, shapes2d" + (f", seed {seed}" if seed else ""),
        "shapes2d",
        model,
        None,
        _SHAPES | options,
        # Fourteen million weights are moved in each step: it takes as long as 256 rows to multiply.
        {"batch_size": 256, "learning_rate": 5e-4, "precision": "bf16-mixed"},
        kind="disentangling",
        section=_SECTION,
        differs="beta-VAE score; own drawings on the grid of dSprites; Adam instead of Adagrad; "
        "products in bfloat16",
        bold=seed == 0 and name != "FactorVAE",
        source="",
        unit="of 1",
        seed=seed,
    )
    for seed in (0, 1, 2)
    for name, (model, options) in _WEIGHTS.items()
]
LADDERS = [
    Recipe(
        "Ladder VAE, MNIST",
        "mnist-bits",
        "ladder",
        None,
        {"groups": (2, 2, 2), "channels": (32, 64), "hidden": (512,), "warm_up": 1_000},
        {"batch_size": 100, "learning_rate": 5e-4},
        kind="ladder",
        section=_SECTION,
        differs="half the channels, no batch norm, Bernoulli instead of L1; no published number",
        source="",
    ),
    Recipe(
        "Ladder VAE, shapes2d",
        "shapes2d",
        "ladder",
        None,
        {"groups": (2, 2, 2, 2), "channels": (16, 32, 32), "hidden": (256,), "warm_up": 1_000},
        {"batch_size": 64, "learning_rate": 5e-4},
        kind="ladder",
        section=_SECTION,
        differs="no published number",
        source="",
    ),
    Recipe(
        "Hierarchical VAE, MNIST",
        "mnist-bits",
        "hierarchy",
        None,
        {"sizes": (32, 16, 8), "hidden": (300,)},
        {"batch_size": 100, "learning_rate": 1e-3},
        kind="hierarchy",
        section=_SECTION,
        differs="no published number",
        source="",
    ),
]
# The ELBO leaves crescents and modes in patches; weighted draws look after what it misses.
_WAKE = {"objective": "reweighted_wake_sleep", "learning_rate": 2e-3}
_TASKS = {
    "gaussian_linear": {"learning_rate": 2e-3, "steps": 1_000},
    "gaussian_mixture": {**_WAKE, "steps": 1_000, "anneal": 500},
    "two_moons": {**_WAKE, "steps": 1_500, "anneal": 750},
    "slcp": {**_WAKE, "steps": 3_000, "anneal": 1_500},
}
POSTERIORS = [
    Recipe(
        f"{task}, flow fitted to the density",
        task,
        "nsf",
        None,
        {"layers": 6, "hidden": (64, 64), "bins": 10, "bound": 5.0, "observations": 3},
        {"batch_size": 256, **training},
        kind="posterior",
        section="Posteriors",
        differs="accuracy of a classifier against reference draws; 0.5 is perfect",
        source="",
        unit="of 1",
    )
    for task, training in _TASKS.items()
] + [
    Recipe(
        f"{task}, posterior estimation",
        task,
        "nsf",
        None,
        {
            "layers": 6,
            "hidden": (64, 64),
            "bins": 10,
            "bound": 5.0,
            "observations": 3,
            "simulations": 100_000,
        },
        {"batch_size": 256, "learning_rate": 1e-3},
        kind="amortised",
        section="Posteriors",
        differs="accuracy of a classifier against reference draws; 0.5 is perfect",
        source="",
        unit="of 1",
    )
    for task in _TASKS
]
LATENT = [*AUTOENCODERS, *FREY, *IWAE, *BELIEF, *DISENTANGLING, *LADDERS, *POSTERIORS]
