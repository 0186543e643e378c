"""Arguments of wrong types: each is refused by name, with what would be right."""

import pickle

import pytest
import torch
from torch import nn

from flowkit.errors import ArgumentError, ContextError
from flowkit.flows import (
    BinaryMADE,
    BoxUniform,
    ConditionalNormal,
    Dequantized,
    Flow,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    StandardNormal,
    StudentT,
    TorchBase,
    maf,
    nsf,
)
from flowkit.gan import GAN, AdversarialAutoencoder, Factorized, Generator
from flowkit.nets import MADE, MLP
from flowkit.training import fit
from flowkit.transforms import (
    Affine,
    Chain,
    Columns,
    Coupling,
    Elementwise,
    Identity,
    Inverse,
    LULinear,
    MaskedAutoregressive,
)
from flowkit.vae import VAE

MASK = [True, False, True]


def layer():
    return LULinear(2)


def flow():
    return maf(2, layers=1, hidden=(8,))


CONSTRUCTORS = {
    "chain of a list": (
        lambda: Chain([layer()]),
        r"transforms\[0\]: expected a Transform; unpack a list as Chain\(\*layers\), got list",
    ),
    "chain of a flow": (
        lambda: Chain(layer(), flow()),
        r"transforms\[1\]: expected a Transform; .* as flow\.transform, got Flow",
    ),
    "chain of nothing": (lambda: Chain(None), r"transforms\[0\]: expected a Transform, got None"),
    "chain of a class": (
        lambda: Chain(LULinear),
        r"transforms\[0\]: expected a Transform, got the class LULinear; call it to make an inst",
    ),
    "inverse of nothing": (lambda: Inverse(None), "transform: expected a Transform, got None"),
    "inverse of a flow": (
        lambda: Inverse(flow()),
        r"transform: expected a Transform; .* as flow\.transform, got Flow",
    ),
    "flow on a name": (
        lambda: Flow(layer(), "normal"),
        r"base: expected a distribution, such as StandardNormal\(2\) or a flow, got 'normal'",
    ),
    "flow on a class": (lambda: Flow(layer(), StandardNormal), "base: .*got the class Standard"),
    "flow on a transform": (lambda: Flow(layer(), layer()), "base: expected .*, got LULinear"),
    "flow on a torch distribution": (
        lambda: Flow(layer(), torch.distributions.Normal(torch.zeros(2), 1.0)),
        "base: expected .*, got Normal",
    ),
    "flow of nothing": (
        lambda: Flow(None, StandardNormal(2)),
        "transform: expected a Transform, or another library's .*, got None",
    ),
    "flow of a flow": (lambda: Flow(flow(), StandardNormal(2)), "transform: expected .* got Flow"),
    "flow of a network": (
        lambda: Flow(nn.Linear(2, 2), StandardNormal(2)),
        "transform: expected .* got Linear",
    ),
    "flow with a number for an embedding": (
        lambda: Flow(maf(2, context_features=3).transform, StandardNormal(2), embedding=3),
        r"embedding: expected a module called as f\(context\), got 3",
    ),
    "masked layer of a network": (
        lambda: MaskedAutoregressive(nn.Linear(2, 4), Affine()),
        "made: expected a MADE, or a module with its features, .*, got Linear",
    ),
    "masked layer of nothing": (lambda: MaskedAutoregressive(None, Affine()), "made: .*got None"),
    "masked layer of a name": (
        lambda: MaskedAutoregressive(MADE(2, 2), "affine"),
        r"univariate: expected a univariate map, such as Affine\(\), got 'affine'",
    ),
    "masked layer of a class": (
        lambda: MaskedAutoregressive(MADE(2, 2), Affine),
        "univariate: expected .*, got the class Affine; call it",
    ),
    "coupling of nothing": (
        lambda: Coupling(MASK, None, Affine()),
        r"conditioner: expected a module called as f\(x, context\), got None",
    ),
    "coupling of a linear layer": (
        lambda: Coupling(MASK, nn.Linear(1, 4), Affine()),
        r"conditioner: expected a module called as f\(x, context\), got Linear\(",
    ),
    "coupling of a univariate by name": (
        lambda: Coupling(MASK, MLP(1, 4), "affine"),
        "univariate: expected",
    ),
    "coupling with a number of features": (
        lambda: Coupling(3, MLP(1, 4), Affine()),
        "mask: expected a sequence of booleans, one per feature, got 3",
    ),
    "elementwise by name": (lambda: Elementwise("affine", Affine()), "features: expected an int"),
    "elementwise of a name": (lambda: Elementwise(2, "affine"), "univariate: expected"),
    "columns of a list": (
        lambda: Columns([Identity(1)]),
        r"transforms: expected a mapping of columns, such as \{0: Identity\(1\)\}, got list",
    ),
    "columns of names": (lambda: Columns({0: "log"}), r"transforms\[0\]: expected .*, got 'log'"),
    "columns of flows": (
        lambda: Columns({(0, 1): flow()}),
        r"transforms\[\(0, 1\)\]: expected .*as flow\.transform, got Flow",
    ),
    "columns by name": (
        lambda: Columns({"age": Identity(1)}),
        "columns: expected keys that are integers or tuples of them, got 'age'",
    ),
    "joint base of a list": (
        lambda: JointBase([StandardNormal(1)]),
        "bases: expected a mapping of columns, .*, got list",
    ),
    "joint base of names": (
        lambda: JointBase({0: StandardNormal(1), 1: "normal"}),
        r"bases\[1\]: expected a distribution, .*, got 'normal'",
    ),
    "mixture of one flow": (
        lambda: MixtureOfFlows(flow()),
        "flows: expected a list of flows or bases, got Flow",
    ),
    "mixture of transforms": (
        lambda: MixtureOfFlows([flow(), layer()]),
        r"flows\[1\]: expected a distribution, .*, got LULinear",
    ),
    "torch's distribution as it is": (
        lambda: TorchBase(torch.distributions.Normal(0.0, 1.0)),
        r"distribution: expected a class of torch\.distributions.*, got Normal",
    ),
    "dequantised nothing": (
        lambda: Dequantized(None),
        "flow: expected a distribution, .*, got None",
    ),
    "dequantised transform": (lambda: Dequantized(layer()), "flow: expected .*, got LULinear"),
    "binary network": (lambda: BinaryMADE(MLP(3, 3)), "made: expected a MADE, got MLP"),
    "binary of two outputs": (lambda: BinaryMADE(MADE(3, 2)), "made: expected one output per fe"),
    "autoencoder without a decoder": (
        lambda: VAE(nn.Linear(8, 4), None, ConditionalNormal(2, context_features=4)),
        r"decoder: expected a module called as f\(z\), got None",
    ),
    "autoencoder of a name": (
        lambda: VAE(nn.Linear(8, 4), nn.Linear(2, 8), "normal"),
        "posterior: expected a distribution, .*, got 'normal'",
    ),
    "game without a critic": (lambda: GAN(flow(), None), r"critic: expected a module .*got None"),
    "generator of nothing": (lambda: Generator(None, 3), "net: expected a module .*, got None"),
    "adversarial autoencoder of a class": (
        lambda: AdversarialAutoencoder(
            nn.Linear, Factorized(MLP(3, 8), 8, codes=3), MLP(3, 1), categories=3
        ),
        "encoder: expected a module .*, got the class Linear",
    ),
    "fit of a name": (
        lambda: fit("maf", torch.randn(8, 2)),
        r"model: expected a module, such as flowkit\.flows\.maf\(2\), got 'maf'",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_wrong_parts_are_refused_by_name(name):
    make, message = CONSTRUCTORS[name]
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


SAMPLERS = {
    "flow": flow,
    "box": lambda: BoxUniform(0.0, 1.0),
    "student": lambda: StudentT(2),
    "mixture of normals": lambda: NormalMixture(2, 3),
    "joint": lambda: JointBase({0: StandardNormal(1), 1: StandardNormal(1)}),
    "mixture of flows": lambda: MixtureOfFlows([flow(), flow()]),
    "torch": lambda: TorchBase(torch.distributions.Gumbel, loc=torch.zeros(2), scale=1.0),
    "dequantised": lambda: Dequantized(flow()),
    "binary": lambda: BinaryMADE(MADE(2)),
    "factorised": lambda: Factorized(MLP(3, 8), 8, codes=3),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_wrong_shapes_and_generators_of_samples_are_refused(name):
    model = SAMPLERS[name]()
    context = torch.zeros(3) if getattr(model, "context_features", 0) else None
    for shape in (10.0, "10", None, torch.tensor(3)):
        expected = "^sample_shape: expected an integer or a sequence of integers, got"
        with pytest.raises(ArgumentError, match=expected):
            model.sample(shape, context)
    for shape in (-1, (3, -2), (2.0,), True):
        with pytest.raises(ArgumentError, match="^sample_shape: expected an integer of at least 0"):
            model.sample(shape, context)
    for generator in (0, "cpu", True):
        with pytest.raises(ArgumentError, match=r"^generator: expected a torch\.Gen"):
            model.sample((3,), context, generator=generator)
    assert model.sample((), context, torch.Generator()).dim() == 1


def test_what_is_called_right_is_taken():
    class Net(nn.Module):
        def forward(self, x, context=None):
            del context
            return torch.cat([x, x, x, x], -1)

    assert Coupling(MASK, Net(), Affine())(torch.randn(5, 3))[0].shape == (5, 3)
    assert Coupling(torch.tensor(MASK), Net(), Affine()).features == 3
    assert MixtureOfFlows((flow(), nsf(2, hidden=(8,)))).sample(3).shape == (3, 2)
    assert MixtureOfFlows(nn.ModuleList([flow()])).sample(3).shape == (3, 2)
    assert Flow(layer(), flow()).sample((2, 3)).shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArgumentError("bins", "a count", None), "bins: expected a count, got None"),
        (ContextError("base", "has an embedding"), "base: has an embedding"),
    ],
)
def test_errors_survive_other_processes_and_other_names(error, message):
    same = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(same) is type(error)
    assert str(same) == str(error) == message
    assert str(error.of("y")) == f"y {message}"
    data = type(error)("data, row 3", *error.__reduce__()[1][1:])
    assert str(data.of("y")).startswith("y, row 3: ")
