"""The named architectures, each one short function over the same few parts.

Options mean the same everywhere: ``layers`` how many, ``hidden`` the widths of each conditioner's
hidden layers, ``residual`` residual blocks in it (one per width), ``base`` "normal", "logistic" or
a `Base`. Every flow starts as the identity, and works for one feature too.
"""

from collections.abc import Sequence

from flowkit._checks import check_count
from flowkit.flows.bases import Base, base_named
from flowkit.flows.flow import Flow
from flowkit.nets import MADE, MLP, ResNet
from flowkit.transforms import (
    Affine,
    Chain,
    Coupling,
    Elementwise,
    Inverse,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    Shift,
    Transform,
    Univariate,
)
from flowkit.transforms.conditioning import check_univariate


def nice(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 4,
    hidden: Sequence[int] = (256, 256),
    base: str | Base = "logistic",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """NICE: additive couplings of the even and odd features in turn, then a free scale.

    ``log_prob`` and ``sample`` cost ``layers`` passes of a conditioner each.

    Args:
        features: number of features.
        context_features: width of the context, 0 for none.
        layers: number of couplings; at least 3 let every feature move every other.
        hidden: widths of each conditioner's hidden layers.
        base: "normal", "logistic" or a `Base`.
        residual: residual blocks in the conditioners, one per entry of ``hidden``.
        activation: "relu", "tanh", "elu", "silu" or "gelu".

    Reference: Dinh, Krueger and Bengio, *NICE: non-linear independent components estimation*,
    2014, section 3.

    Example:
        >>> nice(4).sample((3,)).shape
        torch.Size([3, 4])

    """
    couplings = _couplings(
        features, Shift(), layers, hidden, context_features, residual, activation
    )
    scale = Elementwise(features, Affine(bound=None))
    return Flow(Chain(*couplings, scale), base_named(base, features))


def real_nvp(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """Real NVP: affine couplings of the even and odd features in turn.

    ``log_prob`` and ``sample`` cost ``layers`` passes of a conditioner each. Arguments as for
    `nice`.

    Reference: Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2016,
    section 3; for vectors, as in Papamakarios, Pavlakou and Murray, 2017.

    Example:
        >>> import torch
        >>> real_nvp(4, context_features=2).sample((3,), torch.zeros(5, 2)).shape
        torch.Size([3, 5, 4])

    """
    couplings = _couplings(
        features, Affine(), layers, hidden, context_features, residual, activation
    )
    return Flow(Chain(*couplings), base_named(base, features))


def made(
    features: int,
    *,
    context_features: int = 0,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """MADE with Gaussian conditionals: a single masked autoregressive layer, in natural order.

    ``log_prob`` costs one pass of the network, ``sample`` as many as features. Arguments as for
    `nice`.

    Reference: Germain, Gregor, Murray and Larochelle, *MADE*, 2015.

    Example:
        >>> import torch
        >>> made(4).log_prob(torch.zeros(3, 4)).shape
        torch.Size([3])

    """
    return maf(
        features,
        context_features=context_features,
        layers=1,
        hidden=hidden,
        base=base,
        residual=residual,
        activation=activation,
    )


def maf(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """MAF: masked autoregressive affine layers, the order of the features reversed at each.

    ``log_prob`` costs ``layers`` passes of a network, ``sample`` as many times more as there are
    features. Arguments as for `nice`.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density
    estimation*, 2017.

    Example:
        >>> import torch
        >>> flow = maf(features=6, layers=5, hidden=(100, 100))
        >>> flow.log_prob(torch.zeros(3, 6)).shape
        torch.Size([3])

    """
    return Flow(
        Chain(
            *_autoregressive(
                features, Affine(), layers, hidden, context_features, residual, activation
            )
        ),
        base_named(base, features),
    )


def iaf(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """IAF: the layers of `maf` in their other direction, for posteriors that are sampled.

    ``sample`` and ``sample_and_log_prob`` cost ``layers`` passes of a network, ``log_prob`` of
    given points as many times more as there are features. Arguments as for `nice`.

    Reference: Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling, *Improved variational
    inference with inverse autoregressive flow*, 2016.

    Example:
        >>> import torch
        >>> z, log_q = iaf(4, context_features=2).sample_and_log_prob((3,), torch.zeros(5, 2))
        >>> z.shape, log_q.shape
        (torch.Size([3, 5, 4]), torch.Size([3, 5]))

    """
    stack = _autoregressive(
        features, Affine(), layers, hidden, context_features, residual, activation
    )
    return Flow(Chain(*map(Inverse, stack)), base_named(base, features))


def nsf(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float | Sequence[float] = 5.0,
    tails: str | Sequence[str] = "linear",
    limit: float | None = 0.5,
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
    coupling: bool = False,
) -> Flow:
    """Neural spline flow: autoregressive rational-quadratic splines, the order reversed at each.

    ``log_prob`` costs ``layers`` passes of a network; ``sample`` the same with
    ``coupling=True``, otherwise as many times more as there are features.

    Args:
        features: number of features.
        context_features: width of the context, 0 for none.
        layers: number of spline layers.
        hidden: widths of each conditioner's hidden layers.
        bins: bins of each spline.
        bound: splines act within ``± bound``; one number, or one per feature.
        tails: beyond the bound "linear" (the identity) or "circular"; one, or one per feature.
        limit: how steep one layer's spline may be, see `RationalQuadraticSpline`; None: freely.
        base: "normal", "logistic" or a `Base`.
        residual: residual blocks in the conditioners, one per entry of ``hidden``.
        activation: "relu", "tanh", "elu", "silu" or "gelu".
        coupling: couplings of the even and odd features in turn, instead of MADEs.

    Reference: Durkan, Bekasov, Murray and Papamakarios, *Neural spline flows*, 2019.

    Example:
        >>> import torch
        >>> flow = nsf(features=2, context_features=3)
        >>> flow.sample((100,), torch.zeros(5, 3)).shape
        torch.Size([100, 5, 2])

    """
    stack = _couplings if coupling else _autoregressive
    spline = RationalQuadraticSpline(bins, bound, tails, limit)
    layers_ = stack(features, spline, layers, hidden, context_features, residual, activation)
    return Flow(Chain(*layers_), base_named(base, features))


def _autoregressive(
    features: int,
    univariate: Univariate,
    layers: int,
    hidden: Sequence[int],
    context_features: int,
    residual: bool,
    activation: str,
) -> list[Transform]:
    """Masked autoregressive layers whose orders alternate: no permutation need be moved."""
    check_count("features", features)
    order = range(features)
    return [
        MaskedAutoregressive(
            MADE(
                features,
                univariate.parameters,
                hidden,
                context_features=context_features,
                order=order if layer % 2 == 0 else order[::-1],
                residual=residual,
                activation=activation,
            ),
            univariate,
        )
        for layer in range(check_count("layers", layers))
    ]


def _couplings(
    features: int,
    univariate: Univariate,
    layers: int,
    hidden: Sequence[int],
    context_features: int,
    residual: bool,
    activation: str,
) -> list[Transform]:
    """Couplings that transform the odd features, then the even ones, and so on."""
    if features == 1:  # nothing to condition on but the context, which a MADE does as well
        return _autoregressive(
            features, univariate, layers, hidden, context_features, residual, activation
        )
    check_univariate(univariate, check_count("features", features))
    net = ResNet if residual else MLP
    couplings: list[Transform] = []
    for layer in range(check_count("layers", layers)):
        mask = [(i + layer) % 2 == 1 for i in range(features)]
        moved = [i for i in range(features) if mask[i]]
        selected = univariate.select(moved)
        conditioner = net(
            features - len(moved),
            len(moved) * selected.parameters,
            hidden,
            context_features=context_features,
            activation=activation,
        )
        couplings.append(Coupling(mask, conditioner, selected))
    return couplings
