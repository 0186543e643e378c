"""What a model says of the rows before the first step."""

from typing import TYPE_CHECKING, Any

from torch import nn

from flowkit.errors import ArgumentError, DtypeError, FlowkitError, ShapeError
from flowkit.training.seeds import random_state_restored

if TYPE_CHECKING:
    from flowkit.training.rows import Rows


def look_at(model: nn.Module, rows: "Rows", *, validation: bool = False) -> None:
    """Have a model's ``check_rows`` look at rows as training would show them to it.

    Args:
        model: may have ``check_rows(x, context)``.
        rows: all of them.
        validation: whether they are those to validate on, and errors are to say so.

    Raises:
        ArgumentError: the model refuses them, or its parts do not fit them.
    """
    check: Any = getattr(model, "check_rows", None)
    if check is None:
        return
    x = rows.x
    weights = next(model.parameters(), x)
    if x.is_floating_point() and weights.is_floating_point() and x.dtype != weights.dtype:
        expected = f"{weights.dtype}, as the weights of the model are (or give a precision)"
        raise DtypeError("validation" if validation else "data", expected, x.dtype)
    try:
        with random_state_restored(x.device):
            check(x, rows.context)
    except ArgumentError as error:
        if not validation:
            raise
        raise error.of("validation") from error
    except RuntimeError as error:
        if isinstance(error, FlowkitError):
            raise
        expected = "parts that fit the rows and one another"
        raise ShapeError("model", expected, str(error).splitlines()[0]) from error
