"""Named architectures: one short function each, with common options.

``layers`` is the number of layers; ``hidden`` the widths of each conditioner's hidden layers;
``residual`` gives conditioners one residual block per width; ``base`` is "normal", "logistic" or
a `Base`. Every flow is initially the identity, and one feature is sufficient.
"""

from collections.abc import Sequence

from flowkit._checks import check_count
from flowkit.distributions.binary import BinaryMADE
from flowkit.distributions.flow import Flow
from flowkit.distributions.registry import named
from flowkit.distributions.standard import Base, base_named
from flowkit.nets import MADE, MLP, ResNet
from flowkit.transforms import (
    Affine,
    BatchNorm,
    Chain,
    Coupling,
    Elementwise,
    GaussianMixture,
    Inverse,
    MaskedAutoregressive,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Shift,
    Transform,
    Univariate,
)
from flowkit.transforms.conditioning import check_univariate


@named
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
    """NICE: additive couplings of the even and odd features in turn, then a learned scale.

    ``log_prob`` and ``sample`` cost ``layers`` passes of a conditioner each.

    Args:
        features: number of features.
        context_features: width of the context, 0 for none.
        layers: number of couplings; from 3 on, every feature can affect every other.
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
    options = (hidden, context_features, residual, activation)
    couplings = _couplings(features, Shift(), _layers(layers), *options)
    scale = Elementwise(features, Affine(bound=None))
    return Flow(Chain(*couplings, scale), base_named(base, features))


@named
def real_nvp(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
    batch_norm: bool = False,
) -> Flow:
    """Real NVP: affine couplings of the even and odd features in turn.

    ``log_prob`` and ``sample`` cost ``layers`` passes of a conditioner each. Arguments as for
    `nice`, and ``batch_norm``: a `BatchNorm` after each layer, as in the MAF paper.

    Reference: Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2016,
    section 3; for vectors, as in Papamakarios, Pavlakou and Murray, 2017.

    Example:
        >>> import torch
        >>> real_nvp(4, context_features=2).sample((3,), torch.zeros(5, 2)).shape
        torch.Size([3, 5, 4])
    """
    options = (hidden, context_features, residual, activation)
    couplings = _couplings(features, Affine(), _layers(layers), *options)
    return Flow(Chain(*_normalized(couplings, batch_norm)), base_named(base, features))


@named
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

    ``log_prob`` costs one pass of the network, ``sample`` about one and a half. Arguments as for
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


@named
def maf(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
    batch_norm: bool = False,
) -> Flow:
    """MAF: masked autoregressive affine layers, with the order of features reversed at each layer.

    ``log_prob`` costs ``layers`` passes of a network, ``sample`` about one and a half times that.
    Arguments as for `nice`, and ``batch_norm``: a `BatchNorm` after each layer, as in the paper.

    Reference: Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density
    estimation*, 2017.

    Example:
        >>> import torch
        >>> flow = maf(features=6, layers=5, hidden=(100, 100))
        >>> flow.log_prob(torch.zeros(3, 6)).shape
        torch.Size([3])
    """
    options = (hidden, context_features, residual, activation)
    stack = _autoregressive(features, Affine(), _layers(layers), *options)
    return Flow(Chain(*_normalized(stack, batch_norm)), base_named(base, features))


@named
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
    """IAF: the layers of `maf` in the opposite direction, for posteriors that are sampled.

    ``sample`` and ``sample_and_log_prob`` cost ``layers`` passes of a network. ``log_prob`` of
    given points costs about one and a half times that. Arguments as for `nice`.

    Reference: Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling, *Improved variational
    inference with inverse autoregressive flow*, 2016.

    Example:
        >>> import torch
        >>> z, log_q = iaf(4, context_features=2).sample_and_log_prob((3,), torch.zeros(5, 2))
        >>> z.shape, log_q.shape
        (torch.Size([3, 5, 4]), torch.Size([3, 5]))
    """
    options = (hidden, context_features, residual, activation)
    stack = _autoregressive(features, Affine(), _layers(layers), *options)
    return Flow(Chain(*map(Inverse, stack)), base_named(base, features))


@named
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
    """Neural spline flow: autoregressive rational-quadratic splines, in alternating orders.

    ``log_prob`` costs ``layers`` passes of a network. With ``coupling=True`` ``sample`` costs the
    same, otherwise about one and a half times that.

    Args:
        features: number of features.
        context_features: width of the context, 0 for none.
        layers: number of spline layers.
        hidden: widths of each conditioner's hidden layers.
        bins: number of bins of each spline.
        bound: splines act within ``± bound``; one number, or one per feature.
        tails: "linear" (the identity beyond the bound) or "circular"; one value, or one per
            feature.
        limit: limit of the steepness of one layer's spline, see `RationalQuadraticSpline`; None
            for no limit.
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
    options = (hidden, context_features, residual, activation)
    splines = stack(features, spline, _layers(layers), *options)
    return Flow(Chain(*splines), base_named(base, features))


@named
def made_mog(
    features: int,
    *,
    context_features: int = 0,
    components: int = 10,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
) -> Flow:
    """MADE-MoG: a MADE whose conditionals are mixtures of Gaussians, in natural order.

    ``log_prob`` costs one pass of the network; ``sample`` about one and a half, and 60 evaluations
    of each mixture. Arguments as for `nice`, and ``components`` of each mixture.

    Reference: Papamakarios, Pavlakou and Murray, 2017, section 4.

    Example:
        >>> made_mog(2, components=3).sample((5,)).shape
        torch.Size([5, 2])
    """
    return maf_mog(
        features,
        context_features=context_features,
        layers=0,
        components=components,
        hidden=hidden,
        base=base,
        residual=residual,
        activation=activation,
    )


@named
def maf_mog(
    features: int,
    *,
    context_features: int = 0,
    layers: int = 5,
    components: int = 10,
    hidden: Sequence[int] = (128, 128),
    base: str | Base = "normal",
    residual: bool = False,
    activation: str = "relu",
    batch_norm: bool = False,
) -> Flow:
    """MAF-MoG: a MAF whose base is a MADE-MoG, trained jointly.

    ``log_prob`` costs ``layers + 1`` passes of a network, ``sample`` about one and a half times
    that, and 60 evaluations of each mixture. Arguments as for `maf`, and ``components`` of each
    mixture; ``layers`` is the number of affine layers.

    Reference: Papamakarios, Pavlakou and Murray, 2017, section 4.

    Example:
        >>> maf_mog(2, layers=2, components=3).sample((5,)).shape
        torch.Size([5, 2])
    """
    options = (hidden, context_features, residual, activation)
    affine = _autoregressive(features, Affine(), range(check_count("layers", layers, 0)), *options)
    mog = _autoregressive(features, GaussianMixture(components), range(1), *options)
    return Flow(Chain(*_normalized(affine, batch_norm), *mog), base_named(base, features))


@named
def binary_made(
    features: int,
    *,
    context_features: int = 0,
    hidden: Sequence[int] = (128, 128),
    residual: bool = False,
    activation: str = "relu",
) -> BinaryMADE:
    """A MADE over binary vectors: a distribution with ``log_prob`` and ``sample``, not a flow.

    ``log_prob`` costs one pass of the network, ``sample`` about one and a half. Arguments as for
    `nice`.

    Reference: Germain, Gregor, Murray and Larochelle, *MADE*, 2015.

    Example:
        >>> import torch
        >>> binary_made(3).log_prob(torch.tensor([[0.0, 1.0, 1.0]])).shape
        torch.Size([1])
    """
    net = MADE(
        features,
        1,
        hidden,
        context_features=context_features,
        residual=residual,
        activation=activation,
    )
    return BinaryMADE(net)


@named
def planar(
    features: int, *, context_features: int = 0, layers: int = 8, base: str | Base = "normal"
) -> Flow:
    """Planar maps, closed form from data to latent. For a posterior, invert the transform.

    ``log_prob`` costs ``layers`` inner products, ``sample`` a root for each layer. Arguments as for
    `nice`; with a context, each layer's parameters are a linear function of the context.

    Reference: Rezende and Mohamed, *Variational inference with normalizing flows*, 2015.

    Example:
        >>> planar(2).sample((5,)).shape
        torch.Size([5, 2])
    """
    maps = [Planar(features, context_features=context_features) for _ in _layers(layers)]
    return Flow(Chain(*maps), base_named(base, features))


@named
def radial(
    features: int, *, context_features: int = 0, layers: int = 8, base: str | Base = "normal"
) -> Flow:
    """Radial maps, closed form in both directions. Arguments as for `planar`.

    ``log_prob`` and ``sample`` cost ``layers`` distances.

    Reference: Rezende and Mohamed, *Variational inference with normalizing flows*, 2015.

    Example:
        >>> radial(2).sample((5,)).shape
        torch.Size([5, 2])
    """
    maps = [Radial(features, context_features=context_features) for _ in _layers(layers)]
    return Flow(Chain(*maps), base_named(base, features))


def _layers(layers: int) -> range:
    return range(check_count("layers", layers))


def _normalized(stack: list[Transform], batch_norm: bool) -> list[Transform]:
    """Put a batch norm after each layer if ``batch_norm``."""
    if not batch_norm:
        return stack
    return [t for layer in stack for t in (layer, BatchNorm(layer.features))]


def _autoregressive(
    features: int,
    univariate: Univariate,
    layers: range,
    hidden: Sequence[int],
    context_features: int,
    residual: bool,
    activation: str,
) -> list[Transform]:
    """Return masked autoregressive layers of alternating orders, without permutation layers."""
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
        for layer in layers
    ]


def _couplings(
    features: int,
    univariate: Univariate,
    layers: range,
    hidden: Sequence[int],
    context_features: int,
    residual: bool,
    activation: str,
) -> list[Transform]:
    """Return couplings that transform the odd features, then the even ones, and so on."""
    if features == 1:  # only the context conditions a single feature, as in a MADE
        return _autoregressive(
            features, univariate, layers, hidden, context_features, residual, activation
        )
    check_univariate(univariate, check_count("features", features))
    net = ResNet if residual else MLP
    couplings: list[Transform] = []
    for layer in layers:
        mask = [(i + layer) % 2 == 1 for i in range(features)]
        transformed = [i for i in range(features) if mask[i]]
        selected = univariate.select(transformed)
        conditioner = net(
            features - len(transformed),
            len(transformed) * selected.parameters,
            hidden,
            context_features=context_features,
            activation=activation,
        )
        couplings.append(Coupling(mask, conditioner, selected))
    return couplings
