"""Adam, as one call of the fused kernel."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Adam(torch.optim.Adam):
    """torch's fused Adam, without the preparation that its ``step`` makes before the kernel.

    For narrow networks the preparation, in Python and parameter by parameter, takes longer than
    the kernel. All parameters share one count of steps.

    Args:
        parameters: the parameters to update.
        lr: learning rate.

    Reference: Kingma and Ba, *Adam: a method for stochastic optimization*, 2014, algorithm 1.

    Example:
        >>> weight = nn.Parameter(torch.ones(()))
        >>> optimizer = Adam([weight], lr=0.1)
        >>> (2 * weight).backward()
        >>> optimizer.apply()
        >>> weight
        Parameter containing:
        tensor(0.9000, requires_grad=True)
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr, fused=True)
        for p in self.param_groups[0]["params"]:
            self.state[p] = {
                "step": torch.zeros((), device=p.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }
        self._share_step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        super().load_state_dict(state_dict)
        self._share_step()

    @torch.no_grad()
    def apply(self, grad_scale: Tensor | None = None, found_inf: Tensor | None = None) -> None:
        """Take a step.

        Args:
            grad_scale: divisor of the gradients, applied as they are read, float32.
            found_inf: if 1, nothing is changed.
        """
        (group,) = self.param_groups
        updated = [(p, p.grad, self.state[p]) for p in group["params"] if p.grad is not None]
        self._step.add_(1)
        torch._fused_adam_(
            [p for p, _, _ in updated],
            [gradient for _, gradient, _ in updated],
            [state["exp_avg"] for _, _, state in updated],
            [state["exp_avg_sq"] for _, _, state in updated],
            [],
            [self._step] * len(updated),
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=grad_scale,
            found_inf=found_inf,
        )
        if found_inf is not None:
            self._step.sub_(found_inf)

    def _share_step(self) -> None:
        states = [self.state[p] for p in self.param_groups[0]["params"]]
        self._step: Tensor = states[0]["step"]
        for state in states:
            state["step"] = self._step
