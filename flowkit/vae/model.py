"""Variational autoencoder: encoder, posterior, prior, decoder and likelihood, each exchangeable."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import check_called, check_count, check_row
from flowkit._training_mode import evaluating
from flowkit.distributions import ConditionalNormal, Likelihood, StandardNormal, likelihood_named
from flowkit.distributions.base import Distribution, check_distribution_type
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.estimators import Estimate, elbo
from flowkit.training import Batch, Step, mean_over_rows
from flowkit.vae.draw import Draw, LatentVariableModel
from flowkit.vae.objectives import Term, estimate_of, kl


class VAE(LatentVariableModel):
    """A latent-variable model ``p(z) p(x | z)`` with an amortised posterior ``q(z | x)``.

    Args:
        encoder: maps ``likelihood.features(x)`` of rows to a context, ``(n, context_features)``.
        decoder: maps latents ``(n, latents)`` to the likelihood's parameters: ``outputs`` numbers
            per scalar of a row, the first parameter of all scalars first.
        posterior: a conditional distribution, such as a flow or `ConditionalNormal`. The function
            `flowkit.vae.posterior` makes common posteriors by name.
        prior: "normal", or a distribution without context.
        likelihood: a `Likelihood`, or its name: "bernoulli", "continuous_bernoulli", "gaussian",
            "logistic" or "categorical".
        groups: sizes of groups of latents, in order; the KL is reported for each group. By default,
            all latents are one group.
        row: shape of a row that `sample` draws before a fit, as after ``load_state_dict``. By
            default, a vector of all outputs of the decoder. A fit sets ``row`` to the shape of its
            data.

    Attributes:
        row: shape of a row as `sample` draws it, or None for a vector.

    Rows are ``(n, *event_shape)``. A bound costs one pass of the encoder, and one pass of posterior
    and decoder for each sample.

    Raises:
        ArgumentError: a part has the wrong type.
        ContextError: a posterior without context, or a prior with context.
        ShapeError: posterior and prior have different sizes, or groups do not add up to that size.

    Reference: Kingma and Welling, *Auto-encoding variational Bayes*, 2013; Rezende and Mohamed,
    *Variational inference with normalizing flows*, 2015.

    Example:
        >>> from flowkit.flows import iaf
        >>> from flowkit.training import fit
        >>> encoder, decoder = nn.Linear(8, 16), nn.Linear(2, 8)
        >>> vae = VAE(encoder, decoder, iaf(2, context_features=16, layers=2))
        >>> history = fit(vae, torch.rand(64, 8).round(), steps=5)
        >>> sorted(history.terms["vae"])
        ['kl', 'reconstruction']
        >>> vae.sample(3).shape
        torch.Size([3, 8])
    """

    step: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: Distribution,
        prior: str | Distribution = "normal",
        likelihood: str | Likelihood = "bernoulli",
        *,
        groups: Sequence[int] | None = None,
        row: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_called("encoder", encoder, "f(x)", 1)
        check_called("decoder", decoder, "f(z)", 1)
        check_distribution_type("posterior", posterior)
        self.context_features = posterior.context_features
        if not self.context_features:
            expected = "a distribution with context_features, the width of the encoder's output"
            raise ContextError("posterior", expected, type(posterior).__name__)
        (self.latents,) = posterior.event_shape
        if prior == "normal":
            prior = StandardNormal(self.latents)
        if not isinstance(prior, Distribution):
            raise ArgumentError("prior", "'normal', or a distribution", repr(prior))
        if prior.context_features:
            raise ContextError("prior", "a distribution without context", type(prior).__name__)
        if tuple(prior.event_shape) != (self.latents,):
            expected = f"event shape ({self.latents},), that of the posterior"
            raise ShapeError("prior", expected, tuple(prior.event_shape))
        self.groups = (self.latents,) if groups is None else tuple(groups)
        if sum(check_count("groups", size) for size in self.groups) != self.latents:
            raise ShapeError("groups", f"sizes that add up to {self.latents}", self.groups)
        self.row = None if row is None else check_row(row)
        self.encoder, self.decoder = encoder, decoder
        self.posterior: Distribution = posterior
        self.prior: Distribution = prior
        self.likelihood = likelihood_named(likelihood)
        # The step of the fit, for terms whose weight changes with the step.
        self.register_buffer("step", torch.zeros(()))

    @property
    def is_gaussian(self) -> bool:
        """Whether the posterior is a diagonal Gaussian and the prior a standard Gaussian."""
        return isinstance(self.posterior, ConditionalNormal) and isinstance(
            self.prior, StandardNormal
        )

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-scales of the posterior's Gaussian base, ``(n, latents)`` each.

        Raises:
            ArgumentError: the posterior has no Gaussian base.
        """
        return self.gaussian.parts(context)

    @property
    def gaussian(self) -> ConditionalNormal:
        """The Gaussian base of the posterior, or the posterior itself if Gaussian.

        Raises:
            ArgumentError: the posterior has no Gaussian base.
        """
        base = getattr(self.posterior, "base", self.posterior)
        if not isinstance(base, ConditionalNormal):
            expected = "a ConditionalNormal, or a flow with a ConditionalNormal as base"
            raise ArgumentError("posterior", expected, type(base).__name__)
        return base

    def encode(self, x: Tensor) -> Tensor:
        """Return the encoder's outputs of observations ``x``, ``(n, context_features)``."""
        context: Tensor = self.encoder(self.likelihood.features(x))
        shape = (len(x), self.context_features)
        if context.shape != shape:
            raise ShapeError("encoder", f"an output of shape {shape}", tuple(context.shape))
        return context

    def represent(self, x: Tensor) -> Tensor:
        """Return the code of observations: the posterior's Gaussian means, ``(n, latents)``."""
        return self.moments(self.encode(x))[0]

    def decode(self, z: Tensor, event_shape: Sequence[int] | None = None) -> Tensor:
        """Return the likelihood's parameters of latents, ``(outputs, *batch, *event_shape)``.

        Args:
            z: ``(*batch, latents)``.
            event_shape: shape of a row; by default ``row``, or a vector if ``row`` is None.
        """
        out: Tensor = self.decoder(z.reshape(-1, self.latents)).flatten(1)
        if event_shape is None:
            event_shape = self.row or (out.shape[1] // self.likelihood.outputs,)
        return self.likelihood.arrange(out, z.shape[:-1], event_shape)

    def draw(self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Draw:
        """Draw latents for observations ``x (n, *event_shape)``, with their log-densities."""
        check_count("samples", samples)
        context = self.encode(x)
        z, log_q = self.posterior.sample_and_log_prob((samples,), context, generator)
        params = self.decode(z, x.shape[1:])
        log_likelihood = self.likelihood.log_prob(x, params).flatten(2).sum(-1)
        log_prior = self.prior.log_prob(z)
        return Draw(self, x, context, z, log_likelihood, log_prior, log_q)

    def log_weights(
        self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return ``log p(x, z) - log q(z | x)`` of fresh latents, ``(samples, n)``."""
        drawn = self.draw(x, samples, generator)
        return drawn.log_p - drawn.log_q

    @torch.no_grad()
    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(n, *row)``, shaped as those of the last fit."""
        z = self.prior.sample((n,), generator=generator)
        return self.likelihood.sample(self.decode(z), generator)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean of ``p(x | z)`` for one draw of z per row, shaped as ``x``."""
        z = self.posterior.sample((), self.encode(x), generator)
        return self.likelihood.mean(self.decode(z, x.shape[1:]))

    def training_steps(
        self,
        *,
        objective: Callable[..., Estimate] | str = elbo,
        samples: int = 1,
        terms: Sequence[Term] | None = None,
        optimizer: Any = None,
    ) -> dict[str, Step]:
        """Return the training steps of `flowkit.training.fit`: objectives with their parameters.

        Args:
            objective: an estimator of `flowkit.estimators`, or its name. With `elbo` the loss is
                the reconstruction plus the terms; with others, the negative bound plus the terms.
            samples: latents drawn for each row.
            terms: terms added to the loss, see `flowkit.vae.objectives`; by default `kl` with
                `elbo`, and none with other estimators.
            optimizer: makes the optimiser from parameters and learning rate.

        Raises:
            ArgumentError: an unknown objective, too few samples for the objective, or a term of
                the wrong type, unfit for the model, or with the name of another.
        """
        check_count("samples", samples)
        estimate = estimate_of(objective, samples)
        plain = objective in (elbo, "elbo")
        chosen = _checked(self, ((kl(),) if plain else ()) if terms is None else terms)

        def loss(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = self.draw(self.likelihood.observe(batch.x, generator), samples, generator)
            losses: dict[str, Tensor] = {}
            if plain:
                losses["reconstruction"] = -mean_over_rows(drawn.log_likelihood, batch.weights)
            else:
                bound, surrogate = estimate(drawn)
                # The value of the bound, with the gradient of the surrogate.
                value = bound + surrogate - surrogate.detach()
                losses["negative_bound"] = -mean_over_rows(value, batch.weights)
            for term in chosen:
                for name, value in term(drawn, batch.weights).items():
                    if name in losses:
                        raise ArgumentError("terms", "terms of different names", f"two {name!r}")
                    losses[name] = value
            return losses

        steps = {"vae": Step(self.parameters(), loss, optimizer=optimizer, before=self.step.fill_)}
        for term in chosen:
            more = term.steps(self)
            if steps.keys() & more.keys():
                name = ", ".join(more)
                raise ArgumentError("terms", f"at most one term with the step {name!r}", "two")
            steps |= more
        return steps

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative ELBO of held-out rows, in nats, for any training objective."""
        drawn = self.draw(self.likelihood.observe(batch.x, generator), 1, generator)
        bound = elbo(drawn.log_p, drawn.log_q).bound
        return {"negative_elbo": -mean_over_rows(bound, batch.weights)}

    @torch.no_grad()
    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless the likelihood and all networks accept the rows; set ``row``.

        Raises:
            DataError: a value is outside the support of the likelihood; the row is named.
            ShapeError: the shapes of two parts differ.
        """
        if context is not None:
            expected = "None, because the encoder computes the context"
            raise ContextError("context", expected, "a tensor")
        if x.dim() < 2:
            raise ShapeError("data", "rows (n, *event_shape)", tuple(x.shape))
        self.likelihood.check(x)
        with evaluating(self):
            self.draw(self.likelihood.observe(x[:2]))
        self.row = tuple(x.shape[1:])


def _checked(model: VAE, terms: Any) -> tuple[Term, ...]:
    if not isinstance(terms, Sequence) or not all(isinstance(term, Term) for term in terms):
        raise ArgumentError("terms", "a sequence of terms, such as [kl()]", repr(terms))
    for term in terms:
        term.check(model)
    return tuple(terms)
