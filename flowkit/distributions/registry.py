"""Registry of named architectures and bases, and configurations of flows made by them."""

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
_REMEDY = "save the state_dict(), and load it into a flow constructed in the same way"


def named(make: _Make) -> _Make:
    """Register a function or class under its name, and record the arguments in each result.

    Arguments are recorded in JSON form with all defaults. A later change of a default does not
    change the meaning of a file. If one named function calls another, the outer one is recorded.

    Example:
        >>> from flowkit.flows import StudentT, made
        >>> flow_config(made(2, hidden=(8,), base=StudentT(2)))["arguments"]["base"]
        {'name': 'StudentT', 'arguments': {'event_shape': 2, 'df': 5.0}}
    """
    signature = inspect.signature(make)

    def record(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        try:
            arguments = {name: _plain(value) for name, value in bound.arguments.items()}
        except TypeError:  # such a flow is valid, but cannot be saved
            vars(module)["_config"] = None
        else:
            vars(module)["_config"] = {"name": make.__name__, "arguments": arguments}

    if isinstance(make, type):
        cls: Any = make
        init = cls.__init__

        @functools.wraps(init)
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            if type(self) is cls:  # not a subclass, which may be another distribution
                record(self, *args, **kwargs)

        cls.__init__ = __init__
        _NAMED[cls.__name__] = cls
        return make

    @functools.wraps(make)
    def make_and_record(*args: Any, **kwargs: Any) -> nn.Module:
        module = make(*args, **kwargs)
        record(module, *args, **kwargs)
        return module

    _NAMED[make.__name__] = make_and_record
    return cast(_Make, make_and_record)


def flow_config(flow: nn.Module) -> dict[str, Any]:
    """Return the configuration of a flow without its tensors: name, arguments and dtype, as JSON.

    For a standardised flow the key "standardized" records which of data and context are.

    Raises:
        ArgumentError: the flow is not from a named architecture, has an unnamed base or option,
            was edited later, has an embedding, or has several dtypes.
    """
    config = vars(flow).get("_config") if isinstance(flow, nn.Module) else None
    if config is None:
        got = type(flow).__name__
        if isinstance(flow, nn.Module):
            got += f"({', '.join(type(child).__name__ for child in flow.children())})"
        expected = "a flow of a named architecture with named bases and plain options"
        raise ArgumentError("flow", f"expected {expected}, got {got}; {_REMEDY}")
    embedding = getattr(flow, "embedding", None)
    if embedding is not None and not config.get("standardized", {}).get("context"):
        raise ArgumentError("flow", f"expected a flow without an embedding; {_REMEDY}")
    tensors = [*flow.parameters(), *flow.buffers()]
    dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES.keys():
        raise ArgumentError("flow", "one floating-point dtype for all tensors", sorted(dtypes))
    config = {**deepcopy(config), "dtype": dtypes.pop()}
    edited = first_difference(_structure(flow), _structure(flow_from_config(config)))
    if edited is not None:
        expected = f"a flow as made by {config['name']}(...), and {edited!r} was changed"
        raise ArgumentError("flow", f"expected {expected}; {_REMEDY}")
    return config


def flow_from_config(config: Any) -> Any:
    """Make a flow, on the CPU, from the result of `flow_config`; tensors must be loaded later.

    Only registered names are looked up. Torch's random state does not change.

    Raises:
        ArgumentError: the configuration has another form or an unknown name, or an argument is
            unknown, missing, or of a wrong type or value.
    """
    check_keys("config", config, ("name", "arguments", "dtype", *_optional(config)))
    dtype = config["dtype"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ArgumentError("config.dtype", "one of " + ", ".join(_DTYPES), repr(dtype))
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        flow = _make("config", {key: config[key] for key in config if key != "dtype"})
        return flow.to(_DTYPES[dtype])


def _plain(value: Any) -> Any:
    """Return an argument in JSON form, or raise TypeError if there is none."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, nn.Module) and vars(value).get("_config") is not None:
        return vars(value)["_config"]  # not a copy, as a flow may be standardised later
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
        module = make(**arguments)
    except FlowkitError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ArgumentError(where, f"expected valid arguments of {name}: {error}") from error
    if "standardized" in config:
        _standardize(f"{where.removesuffix('.arguments')}.standardized", module, config)
    return module


def _optional(config: Any) -> tuple[str, ...]:
    """Return the optional key of the configuration of a standardised flow, if present."""
    return ("standardized",) if isinstance(config, dict) and "standardized" in config else ()


def _standardize(where: str, flow: Any, config: dict[str, Any]) -> None:
    """Place identity maps in a flow; their tensors are loaded later."""
    placed = config["standardized"]
    check_keys(where, placed, ("data", "context"))
    width = getattr(flow, "context_features", 0)
    if not hasattr(flow, "transform") or not all(isinstance(v, bool) for v in placed.values()):
        raise ArgumentError(where, "two booleans in the configuration of a flow", repr(placed))
    if placed["context"] and not width:
        raise ArgumentError(where, "no context for an unconditional flow", repr(placed))
    place_blank(flow, data=placed["data"], context=width if placed["context"] else 0)


def _argument(where: str, value: Any, hint: Any) -> Any:
    argument = _parts(where, value)
    if not _fits(argument, hint):
        raise ArgumentError(where, f"a {inspect.formatannotation(hint)}", repr(value))
    return argument


def _parts(where: str, value: Any) -> Any:
    """Return an argument with the bases and flows in it made from their configurations."""
    if isinstance(value, dict):
        return _make(where, value)
    if isinstance(value, list):
        return [_parts(f"{where}[{i}]", item) for i, item in enumerate(value)]
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value from JSON has an annotated type."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Sequence:
        (item,) = get_args(hint)
        return isinstance(value, list) and all(_fits(v, item) for v in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if issubclass(hint, nn.Module):  # a flow may serve as a base
        return isinstance(value, nn.Module)
    return isinstance(value, hint)


def _structure(flow: nn.Module) -> dict[str, Any]:
    """Return all options, types, shapes and constants of a flow by name, without learned values."""
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
