"""Rows of all papers, in the order of the report."""

from recipes.recipe import Recipe
from recipes.rows_adversarial import ADVERSARIAL
from recipes.rows_latent import LATENT

_FRESH = "data scaled first; fresh noise in every batch; weights averaged; minutes, no patience"
_MNIST = {"hidden": (1024, 1024)}
_BSDS = "own draw of patches, scaled first; weights averaged; minutes, no patience"
_PATCHES = {"hidden": (512, 512)}
_SMALL = "trained on the benchmark's validation split: no published number"
_ADAM = {"batch_size": 250, "learning_rate": 1e-3}
_WIDE = {"batch_size": 512, "learning_rate": 1e-3}
_NICE = {"batch_size": 200, "learning_rate": 3e-3}


def _mnist(row: str, model: str, published: float, *, cond: float | None = None, **more) -> list:
    options = _MNIST | more.pop("options", {})
    bold = more.pop("bold", False)
    rows = [
        Recipe(
            f"{row}, logit-MNIST",
            "logit-mnist",
            model,
            published,
            options,
            scale="one",
            bold=bold,
            **more,
        )
    ]
    if cond is not None:
        name = f"{row}, logit-MNIST given the class"
        rows.append(
            Recipe(
                name,
                "logit-mnist",
                model,
                cond,
                options,
                conditional=True,
                scale="one",
                **more,
            )
        )
    return rows


GAUSSIANS = [
    Recipe("Gaussian, logit-MNIST", "logit-mnist", "gaussian", -1366.9, kind="gaussian", bold=True),
    Recipe(
        "Gaussian, logit-MNIST given the class",
        "logit-mnist",
        "gaussian",
        -1344.7,
        kind="gaussian",
        conditional=True,
        bold=True,
    ),
    Recipe(
        "Gaussian, BSDS300 patches",
        "bsds300-patches",
        "gaussian",
        96.67,
        kind="gaussian",
        differs="own draw of patches",
        bold=True,
    ),
]
MNIST = [
    *_mnist("MADE", "made", -1380.8, cond=-1361.9, training=_ADAM, differs=_FRESH, bold=True),
    *_mnist(
        "MADE-MoG",
        "made-mog",
        -1038.5,
        cond=-1030.3,
        options={"components": 10},
        training=_ADAM,
        differs=_FRESH,
        bold=True,
    ),
    *_mnist(
        "MAF (5)",
        "maf",
        -1300.5,
        cond=-1302.9,
        options={"layers": 5, "batch_norm": True},
        training=_ADAM,
        differs=_FRESH,
        bold=True,
    ),
    *_mnist(
        "Real NVP (5)",
        "real-nvp",
        -1323.2,
        options={"layers": 5, "batch_norm": True},
        training=_ADAM,
        differs=_FRESH,
    ),
    *_mnist(
        "MAF-MoG (5)",
        "maf-mog",
        -1100.3,
        options={"layers": 5, "batch_norm": True, "components": 10},
        training=_ADAM,
        differs=_FRESH,
    ),
    Recipe(
        "NICE, MNIST",
        "mnist",
        "nice",
        1980.50,
        {"layers": 4, "hidden": (1000,) * 5},
        _NICE,
        scale="columns",
        differs="Adam as it is known today; " + _FRESH,
        bold=True,
        source="NICE, table 1",
    ),
    Recipe(
        "NICE, Fashion-MNIST",
        "fashion_mnist",
        "nice",
        None,
        {"layers": 4, "hidden": (1000,) * 5},
        _NICE,
        scale="columns",
        differs="no published number",
        source="",
    ),
]
_NSF = {"layers": 10, "hidden": (256, 256), "bins": 8, "coupling": True}
BSDS = [
    Recipe(
        "MADE-MoG, BSDS300 patches",
        "bsds300-patches",
        "made-mog",
        153.71,
        _PATCHES | {"components": 10},
        _WIDE,
        scale="columns",
        differs=_BSDS,
        bold=True,
    ),
    Recipe(
        "MAF (5), BSDS300 patches",
        "bsds300-patches",
        "maf",
        155.69,
        _PATCHES | {"layers": 5},
        _WIDE,
        scale="columns",
        differs=_BSDS,
        bold=True,
    ),
    Recipe(
        "NSF, BSDS300 patches",
        "bsds300-patches",
        "nsf",
        157.54,
        _NSF,
        _WIDE,
        scale="columns",
        differs=_BSDS,
        bold=True,
        source="NSF, table 1",
    ),
    Recipe(
        "zuko's MAF (5), BSDS300 patches",
        "bsds300-patches",
        "zuko-maf",
        None,
        {"transforms": 5, "hidden_features": (512, 512)},
        _WIDE,
        scale="columns",
        differs="a peer",
        bold=True,
    ),
    Recipe(
        "zuko's NSF, BSDS300 patches",
        "bsds300-patches",
        "zuko-nsf",
        None,
        {"transforms": 10, "hidden_features": (256, 256), "bins": 8, "passes": 2},
        _WIDE,
        scale="columns",
        differs="a peer",
        bold=True,
    ),
    Recipe(
        "MADE, BSDS300 patches",
        "bsds300-patches",
        "made",
        148.85,
        _PATCHES,
        _WIDE,
        scale="columns",
        differs=_BSDS,
    ),
    Recipe(
        "Real NVP (5), BSDS300 patches",
        "bsds300-patches",
        "real-nvp",
        152.97,
        _PATCHES | {"layers": 5},
        _WIDE,
        scale="columns",
        differs=_BSDS,
    ),
    Recipe(
        "MAF-MoG (5), BSDS300 patches",
        "bsds300-patches",
        "maf-mog",
        156.36,
        _PATCHES | {"layers": 5, "components": 10},
        _WIDE,
        scale="columns",
        differs=_BSDS,
    ),
]
_FEW = {"batch_size": 256, "learning_rate": 1e-3, "patience": 30}
_PEER = "a peer; " + _SMALL


def _small(row: str, model: str, options: dict, **more) -> Recipe:
    options = {"training": _FEW, "differs": _SMALL, "bold": True, "source": ""} | {
        "options": options,
        **more,
    }
    return Recipe(f"{row}, MINIBOONE-small", "miniboone-small", model, **options)


# Residual networks everywhere; width 64, of 32, 64 and 128 the best by validation for most.
MINIBOONE = [
    _small("MAF (5)", "maf", {"hidden": (64, 64), "residual": True, "batch_norm": True}),
    _small("NSF", "nsf", {"hidden": (64, 64), "layers": 5, "bins": 8, "residual": True}),
    _small("FlowDensity", "flowdensity", {}, kind="table", training={}),
    _small(
        "zuko's MAF (5)",
        "zuko-maf",
        {"transforms": 5, "hidden_features": (64, 64), "residual": True},
        differs=_PEER,
    ),
    _small(
        "zuko's NSF",
        "zuko-nsf",
        {"transforms": 5, "hidden_features": (64, 64), "bins": 8, "residual": True},
        differs=_PEER,
    ),
    _small(
        "nflows' MAF (5)",
        "nflows-maf",
        {"hidden_features": 64, "num_layers": 5, "num_blocks_per_layer": 2},
        differs=_PEER,
    ),
    _small(
        "nflows' MAF (5), width 128",
        "nflows-maf",
        {"hidden_features": 128, "num_layers": 5, "num_blocks_per_layer": 2},
        differs=_PEER,
    ),
    _small(
        "nflows' MAF (5) with batch norm",
        "nflows-maf",
        {
            "hidden_features": 64,
            "num_layers": 5,
            "num_blocks_per_layer": 2,
            "batch_norm_between_layers": True,
        },
        differs=_PEER,
    ),
    _small(
        "nflows' NSF",
        "nflows-nsf",
        {"hidden_features": 64, "num_blocks": 2, "num_bins": 8},
        differs=_PEER,
    ),
]
_UCI = (
    "bostonHousing",
    "concrete",
    "energy",
    "kin8nm",
    "naval-propulsion-plant",
    "power-plant",
    "protein-tertiary-structure",
    "wine-quality-red",
    "yacht",
)
REGRESSION = [
    Recipe(
        f"{name}, uci-{table}",
        f"uci-{table}",
        model,
        None,
        options,
        training,
        kind="table" if model == "flowdensity" else "flow",
        splits=5,
        differs="first five published splits, features and target",
        source="",
    )
    for table in _UCI
    for name, model, options, training in (
        ("NSF", "nsf", {"layers": 3, "hidden": (64, 64)}, _FEW),
        ("FlowDensity", "flowdensity", {"effort": "fast"}, {}),
    )
]
ROWS = [*GAUSSIANS, *MNIST, *BSDS, *MINIBOONE, *REGRESSION, *LATENT, *ADVERSARIAL]
