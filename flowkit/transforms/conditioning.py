"""Conditioners and univariate maps in layers: evaluation and checks."""

from typing import Protocol, cast

from torch import Tensor, nn

from flowkit._checks import check_type
from flowkit.errors import ArgumentError
from flowkit.transforms.univariate import Univariate

# Inputs of conditioners are clamped to this, far outside any standardised table. Networks
# extrapolate linearly, and an autoregressive inverse feeds their outputs back as inputs. Without a
# limit one gross outlier grows by a factor with every feature until it overflows.
INPUT_LIMIT = 1e4


class HasZeroOutput(Protocol):
    """A conditioner whose initial output can be set to zero."""

    def zero_output_(self) -> None:
        """Set the output layer to zero."""


def condition(conditioner: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    """Return the conditioner's output for ``x``, in the dtype of ``x`` (also under autocast)."""
    params: Tensor = conditioner(x.clamp(-INPUT_LIMIT, INPUT_LIMIT), context)
    return params.to(x.dtype)


def zero_output_(conditioner: nn.Module) -> None:
    """Set the output of a conditioner to zero, if supported, so that its layer is the identity."""
    if hasattr(conditioner, "zero_output_"):
        cast(HasZeroOutput, conditioner).zero_output_()


def check_map(univariate: object) -> None:
    """Raise unless ``univariate`` is a univariate map."""
    check_type("univariate", univariate, Univariate, "a univariate map, such as Affine()")


def check_univariate(univariate: Univariate, features: int) -> None:
    """Raise unless options per feature, if the map has any, are for this number of features."""
    if univariate.features in (None, features):
        return
    for option, value in vars(univariate).items():
        if isinstance(value, tuple) and len(value) != features:
            expected = f"1 or {features} values for {features} features"
            raise ArgumentError(option, expected, len(value))
    expected = f"a map for {features} features"
    raise ArgumentError("univariate", expected, f"one for {univariate.features}")
