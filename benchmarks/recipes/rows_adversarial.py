"""Rows of PixelCNNs and adversarial models."""

from recipes.recipe import Recipe

_SECTION = "Pixels and adversaries"

PIXELS = [
    Recipe(
        f"{name}, fixed binarisation",
        "binarized_mnist",
        model,
        published,
        options,
        {"batch_size": batch, "learning_rate": 1e-3, **training},
        kind="pixels",
        section=_SECTION,
        differs=differs,
        bold=True,
        source=source,
    )
    for name, model, published, options, batch, training, differs, source in (
        (
            "PixelCNN",
            "pixelcnn",
            -81.30,
            {"hidden": 16, "layers": 6, "reach": 2},
            16,
            {"precision": "bf16-mixed"},  # twice as fast where there are units for it
            "gated, six layers of 16; products in bfloat16; minutes instead of epochs",
            "Pixel recurrent neural networks, table 4",
        ),
        (
            "Bernoulli MADE",
            "binary-made",
            -88.0,
            {"hidden": (1024, 1024)},
            100,
            {"patience": 20},  # it is done long before the minutes are
            "one order, two layers of 1,024; published is about",
            "MADE, about 88",
        ),
    )
]
_CODES = {"batch_size": 100, "learning_rate": 1e-3}
# A code that says the same to every pixel says strokes, not digits, where pixels see so little
# (27 % errors with two layers, 77 % with one): each pixel is told what the code means for it.
# Without labels clusters wander, where averages of weights are no good by themselves: the rate
# falls over as many steps as twenty minutes have.
_DECODERS = {  # by name: model, options, training, those steps, published, source
    "PixelGAN autoencoder": (
        "pixelgan",
        {"hidden": 16, "layers": 1, "reach": 1, "conditioning": "dependent"},
        {"precision": "bf16-mixed"},  # a fifth faster; the other decoder would be slower
        15_000,
        (5.27, 1.08),
        "PixelGAN autoencoders, table 1",
    ),
    "Adversarial autoencoder": ("factorized", {}, {}, 40_000, (None, None), ""),
    # As in the paper of adversarial autoencoders: what is not the digit has a code of its own.
    "Adversarial autoencoder with style": (
        "factorized",
        {"latents": 5},
        {},
        40_000,
        (4.10, 1.90),
        "Adversarial autoencoders",
    ),
}
AUTOENCODERS = [
    Recipe(
        f"{name}, MNIST, {what}",
        "mnist",
        model,
        published[labels > 0],
        {"categories": 10 if labels else 30, "labels": labels, **options},
        _CODES | training | ({} if labels else {"schedule": "cosine", "steps": steps}),
        kind="codes",
        section=_SECTION,
        differs="small networks; minutes instead of epochs"
        + ("" if labels else "; clusters named by the validation rows"),
        bold=not labels,
        source=source,
        unit="%",
    )
    for what, labels in (("30 clusters", 0), ("100 labels", 100))
    for name, (model, options, training, steps, published, source) in _DECODERS.items()
]
_WEIGHTS = {"likelihood": (1.0, 0.0), "adversarial": (0.0, 1.0), "hybrid": (1.0, 1.0)}
# Of 784 pixels a likelihood pulls twenty times as hard as a critic.
_WEIGHTS_OF_IMAGES = _WEIGHTS | {"hybrid": (1.0, 2.0)}
_FLOWS = {
    "MNIST": (
        "mnist",
        {"hidden": (500, 500), "critic_steps": 2},
        {"batch_size": 100, "learning_rate": 3e-4},
    ),
    "magic": (
        "magic",
        {"layers": 8, "hidden": (128,)},
        {"batch_size": 256, "learning_rate": 5e-4},
    ),
}
FLOW_GANS = [
    Recipe(
        f"Flow-GAN, {data}, {name}",
        source,
        "flow-gan",
        None,
        {**options, "weights": weights},
        training,
        kind="flow-gan",
        section=_SECTION,
        differs="log-likelihood of test rows"
        + ("; NICE, noise once and for all" if data == "MNIST" else "; Real NVP, own split"),
        bold=True,
        source="",
    )
    for data, (source, options, training) in _FLOWS.items()
    for name, weights in (_WEIGHTS_OF_IMAGES if data == "MNIST" else _WEIGHTS).items()
]
_FALLING = {  # for as many steps as twenty minutes have, and five
    "MNIST": {"schedule": "cosine", "steps": 34_000},
    "Fashion-MNIST": {"schedule": "cosine", "steps": 8_500},
}
_GAMES = {
    # A critic without a layer that sees the whole image takes strokes for digits.
    "WGAN-GP": (
        {"penalty": 10.0, "critic_steps": 2, "hidden": (512,)},
        {"learning_rate": 5e-4, "precision": "bf16-mixed"},
    ),
    "WGAN": ({"clip": 0.01}, {"learning_rate": 5e-5, "precision": "bf16-mixed"}),
}
IMAGES = [
    Recipe(
        f"{name}, {title}",
        data,
        "wgan",
        None,
        {"net": "dcgan", "latents": 64, "widths": (32, 64), **game},
        {"batch_size": 64, **training, **(_FALLING[title] if name == "WGAN-GP" else {})},
        kind="images",
        section=_SECTION,
        differs="half the channels; products in bfloat16"
        + (
            "; a layer of 512 further in; two steps of the critic for each of the generator's"
            if name == "WGAN-GP"
            else ""
        ),
        bold=(name, title) == ("WGAN-GP", "MNIST"),
        source="",
        unit="%",
    )
    for title, data in (("MNIST", "mnist"), ("Fashion-MNIST", "fashion_mnist"))
    for name, (game, training) in _GAMES.items()
]
MODES = [
    Recipe(
        f"{name}, 25 Gaussians",
        "none",
        model,
        None,
        {"widths": (128, 128, 128)},
        {"batch_size": 256, "learning_rate": 1e-3, "steps": 60_000, "schedule": "cosine"},
        kind="modes",
        section=_SECTION,
        differs="own draws; two steps of the critic for each of the generator's, in the GAN one",
        source="",
        unit="%",
    )
    for name, model in (("WGAN-GP", "wgan"), ("GAN", "gan"))
]
ADVERSARIAL = [*PIXELS, *AUTOENCODERS, *FLOW_GANS, *IMAGES, *MODES]
