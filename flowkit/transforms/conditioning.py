"""What layers have in common: how they ask a conditioner, and fit a univariate map."""

from typing import Protocol, cast

from torch import Tensor, nn

from flowkit._checks import check_type
from flowkit.errors import ArgumentError
from flowkit.transforms.univariate import Univariate

# Beyond this an input tells a conditioner nothing more. Networks extrapolate linearly, and an
# autoregressive inverse feeds what they say back to them: without a limit one gross outlier grows
# by a factor with every feature until it overflows. Far outside any standardised table.
INPUT_LIMIT = 1e4


class HasZeroOutput(Protocol):
    """A conditioner that can be told to start with an output of zero."""

    def zero_output_(self) -> None:
        """Set the output layer to zero."""


def condition(conditioner: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    """Return what the conditioner says of ``x``, in the dtype of ``x`` (also under autocast)."""
    params: Tensor = conditioner(x.clamp(-INPUT_LIMIT, INPUT_LIMIT), context)
    return params.to(x.dtype)


def zero_output_(conditioner: nn.Module) -> None:
    """Let a conditioner that can, start with an output of zero: the layer is the identity then."""
    if hasattr(conditioner, "zero_output_"):
        cast(HasZeroOutput, conditioner).zero_output_()


def check_map(univariate: object) -> None:
    """Raise unless a univariate map is one."""
    check_type("univariate", univariate, Univariate, "a univariate map, such as Affine()")


def check_univariate(univariate: Univariate, features: int) -> None:
    """Raise unless the map, if it has options per feature, has them for ``features`` of them."""
    if univariate.features not in (None, features):
        raise ArgumentError(
            "univariate", f"options for {features} features", f"for {univariate.features}"
        )
