import pytest
import torch
from torch import nn

from flowkit.training.adam import Adam


def pair(dtype=torch.float32):
    shapes = [(3, 4), (5,), ()]
    ours = [nn.Parameter(torch.randn(s, dtype=dtype)) for s in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    return ours, theirs


def give(gradients, *groups):
    for parameters in groups:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = None if g is None else g.clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch(dtype):
    ours, theirs = pair(dtype)
    a, b = Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, fused=True)
    for step in range(6):
        for optimizer in (a, b):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        # The last parameter takes no part at all.
        give([*(torch.randn(p.shape, dtype=dtype) for p in ours[:2]), None], ours, theirs)
        a.apply()
        b.step()
        assert all(map(torch.equal, ours, theirs))
        if step == 2:  # as a checkpoint does it
            state = a.state_dict()
            a = Adam(ours, lr=0.1)
            a.load_state_dict(state)


def test_gradients_are_scaled_and_infinities_leave_all_as_it_was():
    ours, theirs = pair()
    a, b = Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, fused=True)
    for step in range(4):
        gradients = [torch.randn(p.shape) for p in ours]
        give([4 * g for g in gradients], ours)
        if step == 1:
            give([g / 0 for g in gradients], ours)
            a.apply(None, torch.tensor(1.0))
            continue
        give(gradients, theirs)
        a.apply(torch.tensor(4.0), torch.tensor(0.0))
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q)
    assert a.state[ours[0]]["step"].item() == 3
