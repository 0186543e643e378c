"""Ensembles: models of one architecture, trained at once as one batched network."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from flowkit._checks import first_difference
from flowkit.errors import ArgumentError
from flowkit.training.data import Data
from flowkit.training.fit import train
from flowkit.training.history import History
from flowkit.training.options import Options
from flowkit.training.rows import Batch
from flowkit.training.step import Loss, Step, objectives_of
from flowkit.transforms import BatchNorm

# Layers that change their buffers in a forward pass, and hold those of one model only.
_UNBATCHED = (BatchNorm, nn.modules.batchnorm._BatchNorm)


def fit_many(
    models: Sequence[nn.Module],
    data: Tensor,
    *,
    context: Tensor | None = None,
    weights: Tensor | None = None,
    validation: float | Tensor | tuple[Tensor, ...] | None = None,
    objective: Any = None,
    seeds: int | Sequence[int] | None = None,
    **options: Any,
) -> list[History]:
    """Fit several models of one architecture at once, as one batched network.

    Each model ends as it would alone with its seed, but for rounding (and for noise, if its loss
    draws any). For narrow networks, where calls cost more than arithmetic, that takes far less
    time than one after the other.

    Args:
        models: modules that differ in the values of their parameters and buffers only; trained in
            place.
        data: rows, ``(rows, *event_shape)``.
        context: ``(rows, *context_shape)`` if the models ask for it.
        weights: of the rows, ``(rows,)``, or ``(models, rows)``: counts of a bootstrap, or zeros
            for the fold that a model must not see.
        validation: as in `fit`. A share is split off by each model's own seed; each model is left
            with the weights that were best for it, and waits for its own patience.
        objective: as in `fit`, but for a mapping.
        seeds: one per model; by default 0, 1, 2, ... A single one gives all models the same rows
            in the same order.
        options: those of `fit`.

    Returns:
        The history of each model.

    Raises:
        ArgumentError: as `fit`, or a model differs from the first, or has a layer that cannot be
            batched, such as batch norm.

    Example:
        >>> from flowkit.flows import maf
        >>> flows = [maf(2, layers=1, hidden=(8,)) for _ in range(3)]
        >>> [len(history.loss) for history in fit_many(flows, torch.randn(256, 2), steps=5)]
        [5, 5, 5]
    """
    if seeds is None:
        seeds = range(len(models))
    seeds = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    if len(seeds) not in (1, len(models)):
        raise ArgumentError("seeds", f"one, or {len(models)}, one for each model", len(seeds))
    if isinstance(objective, Mapping):
        raise ArgumentError("objective", "an option of the models", "named steps")
    shared = {f.name: options.pop(f.name) for f in fields(Options) if f.name in options}
    settings = Options(**shared)
    _check_alike(models)
    for model in models:
        model.to(dtype=settings.dtype)
    rows = Data(data, context, weights, validation, seeds=seeds, members=len(models))
    ensembles: list[Ensemble] = []

    def stack(models: Sequence[nn.Module]) -> Ensemble:
        _check_alike(models)
        ensembles.append(Ensemble(models))
        return ensembles[0]

    try:
        return train(
            models,
            rows,
            settings,
            objective=None,
            extra=options if objective is None else {"objective": objective, **options},
            stack=stack,
        )
    finally:
        for ensemble in ensembles:
            ensemble.unstack()


class Ensemble(nn.Module):
    """Models of one architecture as one module, whose parameters are theirs, stacked.

    Its losses have one value per model, and take batches with one row of rows per model.

    Args:
        models: the models; checked to be alike.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self._models = list(models)
        self._trained = [name for name, p in models[0].named_parameters() if p.requires_grad]
        # In a tuple, so that it is no part of this module: only its methods are used.
        self._template = (copy.deepcopy(models[0]),)
        for name, parameter in models[0].named_parameters():
            if parameter.requires_grad:
                values = [model.get_parameter(name).detach() for model in models]
                self.register_parameter(_flat(name), nn.Parameter(torch.stack(values)))
        # Tensors that do not differ, such as a mask or a permutation, are shared.
        for name, tensor in _fixed(models[0]).items():
            values = [_fixed(model)[name] for model in models]
            if not all(torch.equal(tensor, value) for value in values):
                self.register_buffer(_flat(name), torch.stack(values))

    @property
    def template(self) -> nn.Module:
        """A model of this architecture, whose weights are not used."""
        return self._template[0]

    def train(self, mode: bool = True) -> "Ensemble":
        """Switch the models between training and evaluation."""
        self._template[0].train(mode)
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> "Ensemble":
        # Called by `to` and the like.
        self._template[0]._apply(*args, **kwargs)
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def training_steps(self, **options: Any) -> dict[str, Step]:
        """Return the steps of the models, each over the stacked parameters."""
        (template,) = self._template
        names = {id(p): _flat(name) for name, p in template.named_parameters()}
        objectives = objectives_of(template, options.pop("objective", None), options)
        if loss := getattr(template, "validation_loss", None):
            self.validation_loss = self._batched(loss)
        return {
            name: Step(
                [self.get_parameter(names[id(p)]) for p in objective.parameters],
                self._batched(objective.loss),
                objective.every,
                objective.optimizer,
            )
            for name, objective in objectives.items()
        }

    def unstack(self) -> None:
        """Copy its weights back into each model."""
        with torch.no_grad():
            for i, model in enumerate(self._models):
                trained = [p for p in model.parameters() if p.requires_grad]
                for name, parameter in zip(self._trained, trained, strict=True):
                    parameter.copy_(self.get_parameter(_flat(name))[i])
                model.train(self.training)

    def _batched(self, loss: Loss) -> Loss:
        """Return a loss of one model as a loss of all models."""
        module = _Lossy(self._template[0], loss)

        def one(
            tensors: dict[str, Tensor], batch: Batch, generator: torch.Generator
        ) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = functional_call(module, tensors, (batch, generator))
            return terms

        def batched(batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
            stacked = {**dict(self.named_parameters()), **dict(self.named_buffers())}
            tensors = {f"model.{name.replace('/', '.')}": t for name, t in stacked.items()}
            dims = Batch(*(None if t is None else 0 for t in batch))  # type: ignore[arg-type]
            call = vmap(one, in_dims=(0, dims, None), randomness="different")
            terms: Mapping[str, Tensor] = call(tensors, batch, generator)
            return terms

        return batched


class _Lossy(nn.Module):
    """A model whose forward pass is one of its losses: `functional_call` needs one to call."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        return self._loss(batch, generator)


def _flat(name: str) -> str:
    """Return the path of a tensor as one name, which must not have dots."""
    return name.replace(".", "/")


def _fixed(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that training does not change."""
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(model.named_buffers())}


def _check_alike(models: Sequence[nn.Module]) -> None:
    """Raise unless the models can be batched."""
    if len(models) == 0 or len({id(model) for model in models}) < len(models):
        raise ArgumentError("models", "at least one, and none twice", f"{len(models)} models")
    for name, module in models[0].named_modules():
        if isinstance(module, _UNBATCHED):
            where = f"{type(module).__name__} at {name}" if name else type(module).__name__
            raise ArgumentError("models", "layers that can be batched", where)
    first = _description(models[0])
    for i, model in enumerate(models):
        other = _description(model)
        if name := first_difference(first, other):
            difference = f"{name} is {other.get(name)} in model {i}, {first.get(name)} in model 0"
            raise ArgumentError("models", "one architecture", f"several: {difference}")


def _description(model: nn.Module) -> dict[str, str]:
    modules = {name or "model": type(module).__name__ for name, module in model.named_modules()}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: f"{t.dtype} {tuple(t.shape)}" for name, t in tensors.items()}
    return {**modules, **shapes}
