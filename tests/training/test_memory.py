import pytest
import torch
from torch import nn

from flowkit.flows import maf
from flowkit.training import Step, fit, maximum_likelihood


def limited(flow, rows, error):
    """Return a step that has no memory for more than so many rows."""
    step = maximum_likelihood(flow)

    def loss(batch, generator):
        if len(batch.x) > rows:
            raise error
        return step.loss(batch, generator)

    return {"likelihood": Step(flow.parameters(), loss)}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: tried 8 bytes"),
    ],
    ids=["accelerator", "cpu"],
)
def test_a_batch_too_large_is_halved_said_once_and_gives_the_same(error):
    x = torch.randn(100, 2)
    weights = torch.rand(100)
    flow = maf(2, layers=1)
    start = {k: t.clone() for k, t in flow.state_dict().items()}
    options = {"weights": weights, "steps": 8, "batch_size": 50, "learning_rate": 0.01}
    expected = fit(flow, x, validation=0.4, standardize=False, **options)
    log_prob = flow.log_prob(x)
    flow.load_state_dict(start)
    with pytest.warns(UserWarning, match="^out of memory: the [45]0 rows") as warned:
        history = fit(flow, x, objective=limited(flow, 13, error), validation=0.4, **options)
    assert [str(w.message)[:40] for w in warned] == [
        "out of memory: the 40 rows of a validati",
        "out of memory: the 50 rows of a batch ar",
    ]
    assert history.loss == pytest.approx(expected.loss, abs=1e-5)
    assert history.validation[0][1] == pytest.approx(expected.validation[0][1], abs=1e-5)
    torch.testing.assert_close(flow.log_prob(x), log_prob, atol=1e-4, rtol=1e-4)


def test_one_row_too_large_and_other_errors_are_the_users():
    flow, x = maf(2, layers=1), torch.randn(8, 2)
    message = "out of memory"
    with (
        pytest.warns(UserWarning, match=message),
        pytest.raises(torch.OutOfMemoryError, match=message),
    ):
        fit(flow, x, objective=limited(flow, 0, torch.OutOfMemoryError(message)), steps=1)
    with pytest.raises(RuntimeError, match="something else"):
        fit(flow, x, objective=limited(flow, 0, RuntimeError("something else")), steps=1)


def test_the_statistics_of_averaged_weights_are_taken_in_pieces_too():
    x = torch.randn(100, 2) + 3
    norm, flow = nn.BatchNorm1d(2), maf(2, layers=1)

    class Normed(nn.Module):
        def log_prob(self, x):
            return flow.log_prob(norm(x))

    model = Normed()
    model.norm, model.flow = norm, flow
    objective = limited(model, 13, torch.OutOfMemoryError("out of memory"))
    with pytest.warns(UserWarning, match="out of memory"):
        fit(model, x, objective=objective, steps=2, batch_size=50, average=0.9)
    # Pieces of 12 and of 13 rows count alike.
    torch.testing.assert_close(norm.running_mean, x.mean(0), atol=0.01, rtol=0)
