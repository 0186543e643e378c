"""PixelCNN: what depends on what, total probability, and samples pixel by pixel."""

import itertools
import math

import pytest
import torch

from flowkit.errors import ArgumentError, ContextError, DataError, ShapeError
from flowkit.flows import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    PixelDistribution,
)
from flowkit.nets import PixelCNN
from flowkit.training import fit

KINDS = [
    pytest.param({"gated": gated, "context_features": context, "conditioning": conditioning},
                 id=f"{'gated' if gated else 'relu'}-{conditioning if context else 'alone'}")
    for gated in (True, False)
    for context, conditioning in ((0, "invariant"), (3, "invariant"), (3, "dependent"))
]  # fmt: skip


def made(image, **options):
    torch.manual_seed(0)
    options = {"hidden": 12, "layers": 3, "reach": 1} | options
    return PixelCNN(image, **options).double()


def order(image):
    """The place of each scalar in the order of sampling, of the image's shape."""
    channels, height, width = image
    return torch.arange(channels * height * width).reshape(height, width, channels).permute(2, 0, 1)


def context_of(net, *batch):
    torch.manual_seed(1)
    features = net.context_features
    return torch.randn(*batch, features).double() if features else None


def jacobian(net, x):
    context = context_of(net)
    return torch.autograd.functional.jacobian(lambda x: net(x, context), x)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("image", [(1, 5, 6), (3, 4, 4)], ids=["grey", "rgb"])
def test_outputs_depend_on_what_comes_before_and_on_nothing_else(image, options):
    net, total = made(image, outputs=2, hidden=24, **options), 0
    torch.manual_seed(2)
    for _ in range(12):  # what a relu blocks at one image it lets through at another
        total = total + jacobian(net, 3 * torch.randn(image).double()).abs().sum(0)
    place = order(image).flatten()
    depends = total.reshape(place.numel(), place.numel())
    before = place[None, :] < place[:, None]
    assert torch.all(depends[~before] == 0)
    reach = 3  # layers * reach
    rows, columns = torch.arange(image[1]), torch.arange(image[2])
    high = rows[:, None].expand(image[1:]).expand(image).flatten()
    wide = columns.expand(image).flatten()
    near = ((high[:, None] - high).abs() <= reach) & ((wide[:, None] - wide).abs() <= reach)
    assert torch.all(depends[before & near] > 0)


@pytest.mark.parametrize(("layers", "reach"), [(1, 1), (2, 1), (1, 2)])
def test_the_receptive_field_is_what_it_is_said_to_be(layers, reach):
    net = made((1, 9, 9), layers=layers, reach=reach, gated=True)
    seen = jacobian(net, torch.randn(1, 9, 9).double())[0, 0, 8, 4, 0] != 0
    expected = torch.zeros(9, 9, dtype=torch.bool)
    far = layers * reach
    # Rows above are seen as wide as all vertical layers look; the row itself to the left alone.
    expected[8 - far : 8, max(4 - far, 0) : 4 + far + 1] = True
    expected[8, 4 - far : 4] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "logistic"])
@pytest.mark.parametrize("image", [(1, 5, 4), (3, 3, 3)], ids=["grey", "rgb"])
def test_a_sweep_gives_the_outputs_of_a_pass(image, likelihood, options):
    law = {
        "bernoulli": "bernoulli",
        "categorical": CategoricalLikelihood(4),
        "logistic": DiscretizedLogisticLikelihood(8, components=2),
    }[likelihood]
    outputs = {"bernoulli": 1, "categorical": 4, "logistic": 6}[likelihood]
    images = PixelDistribution(made(image, outputs=outputs, **options), law).double()
    context = context_of(images.net, 7)
    generator = torch.Generator().manual_seed(3)
    drawn = images.sample(() if context is not None else 7, context, generator)
    assert drawn.unique().numel() > 1
    generator.manual_seed(3)
    assert torch.equal(drawn, naive_sample(images, 7, context, generator))
    x = images.likelihood.features(drawn)
    with torch.no_grad():
        whole, seen = images.net(x, context), torch.zeros_like(x)
        for c, i, j, params in images.net.sweep(seen, context):
            torch.testing.assert_close(params, whole[:, :, c, i, j].t())
            seen[:, c, i, j] = x[:, c, i, j]


def naive_sample(images, n, context, generator):
    """Draw with a pass of the whole network for each scalar."""
    drawn = torch.zeros(n, *images.event_shape).double()
    channels, height, width = images.event_shape
    for i, j, c in itertools.product(range(height), range(width), range(channels)):
        with torch.no_grad():
            params = images.net(images.likelihood.features(drawn), context)
        drawn[:, c, i, j] = images.likelihood.sample(params[:, :, c, i, j].t(), generator)
    return drawn


@pytest.mark.parametrize("options", KINDS)
def test_the_probabilities_of_all_images_add_up_to_one_for_each_code(options):
    images = PixelDistribution(made((1, 3, 3), **options))
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).reshape(-1, 1, 3, 3)
    contexts = context_of(images.net, 4)
    for context in [None] if contexts is None else contexts:
        total = images.log_prob(every.double(), context).logsumexp(0)
        assert total.item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("conditioning", ["invariant", "dependent"])
def test_only_a_dependent_context_tells_pixels_apart(conditioning):
    """On a constant image, the pixels whose whole receptive field is inside see the same."""
    net = made((1, 9, 9), layers=2, context_features=3, conditioning=conditioning)
    logits = net(torch.full((5, 1, 9, 9), 0.3).double(), context_of(net, 5))[:, 0, 0]
    inside = logits[:, 2:, 2:-2].flatten(1)
    same = (inside - inside[:, :1]).abs().max()
    assert same < 1e-12 if conditioning == "invariant" else same > 1e-3
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_batches_of_any_shape_and_contexts_that_broadcast():
    net = made((1, 4, 4), context_features=3)
    images, x = PixelDistribution(net), torch.randint(2, (2, 5, 1, 4, 4)).double()
    context = context_of(net, 5)
    whole = images.log_prob(x, context)
    assert whole.shape == (2, 5)
    torch.testing.assert_close(whole[1, 2], images.log_prob(x[1, 2], context[2]))
    assert images.sample((2, 3), context).shape == (2, 3, 5, 1, 4, 4)


def test_stripes_are_learned_and_drawn():
    """Rows are all zeros or all ones, by a coin for each: 4 bits of entropy, and no other rows."""
    torch.manual_seed(0)
    x = torch.randint(2, (500, 1, 4, 1)).float().expand(-1, -1, -1, 5).contiguous()
    images = PixelDistribution(made((1, 4, 5), hidden=8, layers=2).float())
    fit(images, x, steps=250, batch_size=50, learning_rate=2e-2)
    assert images.log_prob(x).mean().item() == pytest.approx(-4 * math.log(2), abs=0.1)
    drawn = images.sample(300, generator=torch.Generator().manual_seed(0))
    striped = (drawn == drawn[..., :1]).all(-1).all(-1)
    assert striped.double().mean() > 0.95


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"image": 28}, "image"),
        ({"image": (0, 4, 4)}, "image"),
        ({"image": (3, 4, 4), "hidden": 32}, "hidden"),
        ({"image": (1, 4, 4), "layers": 0}, "layers"),
        ({"image": (1, 4, 4), "reach": 0}, "reach"),
        ({"image": (1, 4, 4), "conditioning": "sometimes"}, "conditioning"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options, argument):
    with pytest.raises(ArgumentError, match=argument):
        PixelCNN(**options)


def test_images_contexts_and_outputs_that_do_not_fit_are_refused():
    net = made((1, 4, 4), context_features=3)
    images = PixelDistribution(net)
    x = torch.zeros(5, 1, 4, 4).double()
    with pytest.raises(ShapeError, match="z"):
        images.log_prob(x[..., :3], context_of(net, 5))
    with pytest.raises(ContextError, match="context"):
        images.log_prob(x)
    with pytest.raises(ShapeError, match="context"):
        images.log_prob(x, context_of(net, 4))
    with pytest.raises(ArgumentError, match="net"):
        PixelDistribution(net, "categorical")
    with pytest.raises(DataError, match="row 2"):
        x[2, 0, 1, 1] = 0.5
        fit(PixelDistribution(made((1, 4, 4))), x, steps=1)


def test_pixels_of_probabilities_are_drawn_as_bits():
    seen = []

    class Spy(PixelCNN):
        def forward(self, x, context=None):
            seen.append(x.detach())
            return super().forward(x, context)

    images = PixelDistribution(
        Spy((1, 4, 4), hidden=6, layers=2), BernoulliLikelihood(stochastic=True)
    )
    fit(images, torch.rand(9, 1, 4, 4), steps=2, validation=torch.rand(3, 1, 4, 4))
    assert all(((x == 0) | (x == 1)).all() for x in seen)
