"""Bases made of others: other laws for other columns, torch's distributions, mixtures of flows."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, VonMises, constraints, transform_to

from flowkit import _noise
from flowkit._checks import check_event, check_mapping, check_shape, common_context, kind_of
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.flows.bases import Base, check_base
from flowkit.flows.flow import Flow
from flowkit.flows.registry import named
from flowkit.transforms.columns import Key, read_columns


def _parts(modules: nn.ModuleList) -> list[Base | Flow]:
    return cast(list[Base | Flow], [*modules])


def _contexts(parts: Sequence[Base | Flow], argument: str) -> int:
    if any(getattr(part, "embedding", None) is not None for part in parts):
        raise ContextError(argument, "flows without an embedding; give it to the outer flow", "one")
    return common_context(argument, (part.context_features for part in parts))


class JointBase(Base):
    """Independent groups of columns, each with a base of its own.

    A circular column wants a uniform base beside its neighbours' normals.

    Args:
        bases: ``{column: base}`` or ``{(column, ...): base}``; every column once.

    Raises:
        ArgumentError: no mapping to bases, a column named twice or left out, or context widths
            that differ.
        ShapeError: a base over another number of features than columns.

    Example:
        >>> from flowkit.flows import BoxUniform, StandardNormal
        >>> base = JointBase({(0, 2): StandardNormal(2), 1: BoxUniform(-3.0, 3.0)})
        >>> base.sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(self, bases: Mapping[Key, Base | Flow]) -> None:
        check_mapping("bases", bases, "StandardNormal(1)")
        for key, base in bases.items():
            check_base(f"bases[{key!r}]", base)
            if len(base.event_shape) != 1:
                raise ShapeError("bases", "bases over vectors", tuple(base.event_shape))
        groups = read_columns({key: base.event_shape.numel() for key, base in bases.items()})
        parts = list(bases.values())
        super().__init__(sum(map(len, groups)), context_features=_contexts(parts, "bases"))
        self.groups = groups
        self.bases = nn.ModuleList(parts)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, features)``, as ``(*batch,)``."""
        check_event("z", z, self.event_shape)
        total = z.new_zeros(z.shape[:-1])
        for group, base in zip(self.groups, _parts(self.bases), strict=True):
            part = torch.stack([z[..., column] for column in group], dim=-1)
            total = total + base.log_prob(part, context if base.context_features else None)
        return total

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, features)``."""
        sample_shape = check_shape("sample_shape", sample_shape)
        columns: dict[int, Tensor] = {}
        batch = () if context is None else context.shape[:-1]
        for group, base in zip(self.groups, _parts(self.bases), strict=True):
            if base.context_features:
                part = base.sample(sample_shape, context, generator)
            else:
                part = base.sample((*sample_shape, *batch), None, generator)
            columns.update(zip(group, part.unbind(-1), strict=True))
        return torch.stack([columns[i] for i in range(len(columns))], dim=-1)


class TorchBase(Base):
    """Any of torch's distributions, given by its class and its parameters.

    Its batch and event dimensions together are the event. Tensors become buffers, and an
    `nn.Parameter` stays one: they move with ``.to()`` and are saved. Outside the support the
    density is 0.

    Args:
        distribution: a class of `torch.distributions`.
        parameters: its arguments by name.

    Raises:
        ArgumentError: the distribution is over no event (give it parameters of shape
            ``(features,)``), is discrete, has no density on real vectors (a simplex; von Mises,
            whose mass is one on a circle only), or does not take these parameters.

    Example:
        >>> base = TorchBase(torch.distributions.Gumbel, loc=torch.zeros(2), scale=torch.ones(2))
        >>> base.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, distribution: type[Distribution], **parameters: Tensor | float) -> None:
        if not isinstance(distribution, type) or not issubclass(distribution, Distribution):
            expected = "a class of torch.distributions, such as torch.distributions.Gumbel"
            raise ArgumentError("distribution", expected, kind_of(distribution))
        try:
            d = distribution(**parameters, validate_args=True)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            name = getattr(distribution, "__name__", distribution)
            raise ArgumentError("parameters", f"those of {name}", error) from error
        event_shape = tuple(d.batch_shape) + tuple(d.event_shape)
        if not event_shape:
            raise ArgumentError("parameters", "tensors of shape (features,)", "scalars")
        simplex = d.support is constraints.simplex
        if d.support is None or d.support.is_discrete or simplex or distribution is VonMises:
            expected = "a continuous one with a density on real vectors"
            raise ArgumentError("distribution", expected, distribution.__name__)
        super().__init__(event_shape)
        self.distribution = distribution
        self._constants: dict[str, Any] = {}
        self._names: list[str] = []
        for name, value in parameters.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
                self._names.append(name)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value)
                self._names.append(name)
            else:
                self._constants[name] = value

    def _distribution(self) -> Distribution:
        tensors = {name: getattr(self, name) for name in self._names}
        return self.distribution(**self._constants, **tensors, validate_args=False)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        check_event("z", z, self.event_shape)
        n_batch = z.dim() - len(self.event_shape)
        if z.numel() == 0:  # some of torch's classes cannot
            return z.new_zeros(z.shape[:n_batch])
        d = self._distribution()
        support: Any = d.support
        inside = support.check(z)
        within = inside.reshape(*inside.shape, *[1] * (z.dim() - inside.dim()))
        interior = transform_to(support)(torch.zeros_like(z))
        with torch.no_grad():  # on a boundary that torch counts as inside it may be nan or inf
            inside = inside & d.log_prob(torch.where(within, z, interior)).isfinite()
        within = inside.reshape(*inside.shape, *[1] * (z.dim() - inside.dim()))
        log_prob = d.log_prob(torch.where(within, z, interior))
        log_prob = torch.where(inside, log_prob, -torch.inf)
        total = log_prob.flatten(n_batch).sum(-1) if log_prob.dim() > n_batch else log_prob
        nan = z.isnan().flatten(n_batch).any(-1)
        return torch.where(nan, torch.nan, total)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *event_shape)``, reparameterised where torch's class is."""
        sample_shape = check_shape("sample_shape", sample_shape)
        d = self._distribution()
        draw = d.rsample if d.has_rsample else d.sample
        if generator is None:
            return draw(torch.Size(sample_shape))
        _noise.check_generator(generator)
        # torch's distributions know only the global generator.
        seed = torch.randint(2**31, (), generator=generator, device=generator.device)
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            return draw(torch.Size(sample_shape))


@named
class MixtureOfFlows(Base):
    """A mixture of flows (or bases) over the same events, its weights learned.

    Args:
        flows: at least one.

    ``sample`` draws from every flow and picks; its gradients do not reach the weights.

    Raises:
        ArgumentError: no flows, something else among them, or context widths that differ.
        ShapeError: flows over different events.

    Example:
        >>> from flowkit.flows import maf
        >>> mixture = MixtureOfFlows([maf(2), maf(2)])
        >>> mixture.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, flows: Sequence[Base | Flow]) -> None:
        if not isinstance(flows, Sequence | nn.ModuleList):
            raise ArgumentError("flows", "a list of flows or bases", kind_of(flows))
        for i, flow in enumerate(flows):
            check_base(f"flows[{i}]", flow)
        if len(flows) == 0:
            raise ArgumentError("flows", "at least one flow", "none")
        shapes = {tuple(flow.event_shape) for flow in flows}
        if len(shapes) > 1:
            raise ShapeError("flows", "equal event shapes", sorted(shapes))
        super().__init__(shapes.pop(), context_features=_contexts(flows, "flows"))
        self.flows = nn.ModuleList(flows)
        self.logits = nn.Parameter(torch.zeros(len(flows)))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``z``, ``(*batch, *event_shape)``, as ``(*batch,)``."""
        terms = [f.log_prob(z, context if f.context_features else None) for f in _parts(self.flows)]
        stacked = torch.stack(torch.broadcast_tensors(*terms), dim=-1)
        # Outside of all of them; logsumexp would have no gradient there.
        nowhere = (stacked == -torch.inf).all(-1)
        stacked = torch.where(nowhere.unsqueeze(-1), 0.0, stacked)
        log_prob = torch.logsumexp(self.logits.log_softmax(-1) + stacked, dim=-1)
        return torch.where(nowhere, -torch.inf, log_prob)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, *context_batch, *event_shape)``."""
        sample_shape = check_shape("sample_shape", sample_shape)
        batch = () if context is None else context.shape[:-1]
        draws = [
            flow.sample(sample_shape, context, generator)
            if flow.context_features
            else flow.sample((*sample_shape, *batch), None, generator)
            for flow in _parts(self.flows)
        ]
        chosen = self._choice(self.logits, (*sample_shape, *batch), generator)
        shape = (*chosen.shape, *[1] * len(self.event_shape))
        result: Tensor = draws[0]
        for i, draw in enumerate(draws[1:], start=1):
            result = torch.where((chosen == i).reshape(shape), draw, result)
        return result
