"""What a flow was made by: the name and the arguments of a named architecture or base."""

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from flowkit._checks import check_keys, first_difference
from flowkit.distributions.placement import place_blank
from flowkit.errors import ArgumentError, FlowkitError
from flowkit.transforms import Univariate

_Make = TypeVar("_Make", bound=Callable[..., nn.Module])

_NAMED: dict[str, Callable[..., Any]] = {}
_DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.bfloat16, torch.float16, torch.float32, torch.float64)
}
_ADVICE = "of another, save the state_dict(), and load it into a flow that you make again"


def named(make: _Make) -> _Make:
    """Register a function or class under its name, and let what it makes remember how.

    The arguments are kept as JSON has them, defaults included: a later change of a default does
    not change what a file means. Where one named function calls another, the outer one counts.

    Example:
        >>> from flowkit.flows import StudentT, made
        >>> flow_config(made(2, hidden=(8,), base=StudentT(2)))["arguments"]["base"]
        {'name': 'StudentT', 'arguments': {'event_shape': 2, 'df': 5.0}}
    """
    signature = inspect.signature(make)

    def remember(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        try:
            arguments = {name: _plain(value) for name, value in bound.arguments.items()}
        except TypeError:  # it works, but cannot be saved
            vars(module)["_config"] = None
        else:
            vars(module)["_config"] = {"name": make.__name__, "arguments": arguments}

    if isinstance(make, type):
        cls: Any = make
        init = cls.__init__

        @functools.wraps(init)
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            if type(self) is cls:  # a subclass is another thing
                remember(self, *args, **kwargs)

        cls.__init__ = __init__
        _NAMED[cls.__name__] = cls
        return make

    @functools.wraps(make)
    def making(*args: Any, **kwargs: Any) -> nn.Module:
        module = make(*args, **kwargs)
        remember(module, *args, **kwargs)
        return module

    _NAMED[make.__name__] = making
    return cast(_Make, making)


def flow_config(flow: nn.Module) -> dict[str, Any]:
    """Return what makes a flow again, but for its tensors: name, arguments and dtype, as JSON.

    A standardised flow has "standardized" too: whether its data and its context are.

    Raises:
        ArgumentError: the flow was not made by a named architecture, or with a base or an option
            that has no name, or was edited since, or has an embedding, or several dtypes.
    """
    config = vars(flow).get("_config") if isinstance(flow, nn.Module) else None
    if config is None:
        got = type(flow).__name__
        if isinstance(flow, nn.Module):
            got += f"({', '.join(type(child).__name__ for child in flow.children())})"
        raise ArgumentError(
            "flow", f"one of a named architecture, of named bases and plain options; {_ADVICE}", got
        )
    embedding = getattr(flow, "embedding", None)
    if embedding is not None and not config.get("standardized", {}).get("context"):
        raise ArgumentError("flow", f"one without an embedding; {_ADVICE}", "one with")
    tensors = [*flow.parameters(), *flow.buffers()]
    dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES.keys():
        raise ArgumentError("flow", "one floating-point dtype in all of it", sorted(dtypes))
    config = {**deepcopy(config), "dtype": dtypes.pop()}
    edited = first_difference(_structure(flow), _structure(flow_from_config(config)))
    if edited is not None:
        raise ArgumentError(
            "flow", f"one as {config['name']} makes it; {_ADVICE}", f"another {edited!r}"
        )
    return config


def flow_from_config(config: Any) -> Any:
    """Make a flow from what `flow_config` returned, on the CPU; its tensors are to be loaded.

    No name is looked up but among those that are registered, and torch's random state is left as
    it was.

    Raises:
        ArgumentError: the configuration is of another form, or names something unknown, or has
            arguments too many, too few, or of a wrong type or value.
    """
    check_keys("config", config, ("name", "arguments", "dtype", *_optional(config)))
    dtype = config["dtype"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ArgumentError("config.dtype", "one of " + ", ".join(_DTYPES), repr(dtype))
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        flow = _make("config", {key: config[key] for key in config if key != "dtype"})
        return flow.to(_DTYPES[dtype])


def _plain(value: Any) -> Any:
    """Return an argument as JSON has it; raise TypeError if there is no way to."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, nn.Module) and vars(value).get("_config") is not None:
        return vars(value)["_config"]  # not a copy: a flow may be standardised later
    if isinstance(value, Iterable) and not isinstance(value, nn.Module):
        return [_plain(item) for item in value]
    raise TypeError(type(value).__name__)


def _make(where: str, config: Any) -> Any:
    check_keys(where, config, ("name", "arguments", *_optional(config)))
    name = config["name"]
    if not isinstance(name, str) or name not in _NAMED:
        raise ArgumentError(f"{where}.name", "one of " + ", ".join(sorted(_NAMED)), repr(name))
    make, where = _NAMED[name], f"{where}.arguments"
    check_keys(where, config["arguments"], tuple(inspect.signature(make).parameters))
    hints = get_type_hints(vars(make)["__init__"] if isinstance(make, type) else make)
    arguments = {
        argument: _argument(f"{where}.{argument}", value, hints[argument])
        for argument, value in config["arguments"].items()
    }
    try:
        made = make(**arguments)
    except FlowkitError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ArgumentError(where, f"arguments that {name} takes", error) from error
    if "standardized" in config:
        _standardize(f"{where.removesuffix('.arguments')}.standardized", made, config)
    return made


def _optional(config: Any) -> tuple[str, ...]:
    """Return the key that only the configuration of a standardised flow has."""
    return ("standardized",) if isinstance(config, dict) and "standardized" in config else ()


def _standardize(where: str, flow: Any, config: dict[str, Any]) -> None:
    """Place maps in a flow that are still to be loaded."""
    placed = config["standardized"]
    check_keys(where, placed, ("data", "context"))
    width = getattr(flow, "context_features", 0)
    if not hasattr(flow, "transform") or not all(isinstance(v, bool) for v in placed.values()):
        raise ArgumentError(where, "two booleans, of a flow", repr(placed))
    if placed["context"] and not width:
        raise ArgumentError(where, "no context, as the flow takes none", repr(placed))
    place_blank(flow, data=placed["data"], context=width if placed["context"] else 0)


def _argument(where: str, value: Any, hint: Any) -> Any:
    made = _parts(where, value)
    if not _fits(made, hint):
        raise ArgumentError(where, f"a {inspect.formatannotation(hint)}", repr(value))
    return made


def _parts(where: str, value: Any) -> Any:
    """Make the bases and flows among an argument."""
    if isinstance(value, dict):
        return _make(where, value)
    if isinstance(value, list):
        return [_parts(f"{where}[{i}]", item) for i, item in enumerate(value)]
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value, of JSON or made of it, is of an annotated type."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Sequence:
        (item,) = get_args(hint)
        return isinstance(value, list) and all(_fits(v, item) for v in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if issubclass(hint, nn.Module):  # a flow may stand where a base may
        return isinstance(value, nn.Module)
    return isinstance(value, hint)


def _structure(flow: nn.Module) -> dict[str, Any]:
    """Return all that a flow is, but for what it has learned, by name."""
    structure: dict[str, Any] = {
        f"{name}.{option}": value
        for name, module in flow.named_modules()
        for option, value in vars(module).items()
        if not option.startswith("_") and option != "training"
        if callable(value) or isinstance(value, str | int | float | tuple | list | Univariate)
    }
    structure |= {name: type(module) for name, module in flow.named_modules()}
    state = flow.state_dict()
    structure |= {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}
    constants = [(name, tensor) for name, tensor in flow.named_buffers() if name not in state]
    return structure | {name: _bytes(tensor) for name, tensor in constants}


def _bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().flatten().view(torch.uint8).numpy().tobytes()
