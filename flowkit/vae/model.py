"""The variational autoencoder: exchangeable parts, and the line that joins them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import check_called, check_count, check_row
from flowkit._modes import evaluating
from flowkit.distributions import ConditionalNormal, Likelihood, StandardNormal, likelihood_named
from flowkit.distributions.base import Distribution, check_distribution_type
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.estimators import Estimate, elbo
from flowkit.training import Batch, Step, mean_over_rows
from flowkit.vae.objectives import Term, estimate_of, kl


@dataclass
class Draw:
    """Latents drawn for some rows, and what every objective is made of.

    Attributes:
        model: that drew them.
        x: observations ``(n, *event_shape)``.
        context: what the encoder says of them, ``(n, context_features)``.
        z: latents, reparameterised, ``(samples, n, latents)``.
        log_likelihood: ``log p(x | z)``, ``(samples, n)``.
        log_prior: ``log p(z)``, ``(samples, n)``.
        log_q: ``log q(z | x)``, ``(samples, n)``.
    """

    model: "VAE"
    x: Tensor
    context: Tensor
    z: Tensor
    log_likelihood: Tensor
    log_prior: Tensor
    log_q: Tensor

    @property
    def log_p(self) -> Tensor:
        """``log p(x, z)``, ``(samples, n)``."""
        return self.log_likelihood + self.log_prior

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and log-scales of the Gaussian that the posterior starts from, ``(n, latents)``.

        Raises:
            ArgumentError: it starts from none.
        """
        return self.model.moments(self.context)

    @cached_property
    def kl_of_latents(self) -> Tensor | None:
        """``KL(q(z_j | x) || p(z_j))`` of each latent in closed form, ``(n, latents)``.

        None unless the posterior is a diagonal Gaussian and the prior a standard one.
        """
        if not self.model.is_gaussian:
            return None
        mean, log_scale = self.moments
        return 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale


class VAE(nn.Module):
    """A latent-variable model ``p(z) p(x | z)`` with an amortised posterior ``q(z | x)``.

    Args:
        encoder: maps what the likelihood's ``features`` make of rows to a context,
            ``(n, context_features)``.
        decoder: maps latents ``(n, latents)`` to the likelihood's parameters: ``outputs`` times as
            many numbers as a row has, the first parameter of all scalars first.
        posterior: a conditional flow, or a base such as `ConditionalNormal`: anything with
            ``sample`` and ``log_prob`` given a context. `flowkit.vae.posterior` makes the usual
            ones by name.
        prior: "normal", or a distribution without context.
        likelihood: a `Likelihood`, or its name: "bernoulli", "continuous_bernoulli", "gaussian",
            "logistic" or "categorical".
        groups: sizes of groups of latents, in order, whose KL is reported one by one; one group by
            default.
        row: shape of a row that is drawn before any fit, as after ``load_state_dict``; by default
            one vector, of all that the decoder returns. A fit sets it to the shape of its rows.

    Attributes:
        row: shape of a row as `sample` draws it, or None for a vector.

    Rows are ``(n, *event_shape)``. Costs: a pass of encoder, posterior and decoder per bound, the
    last two for every sample.

    Raises:
        ArgumentError: a part that is none of its kind.
        ContextError: a posterior without context, a prior with one.
        ShapeError: posterior and prior of different sizes, groups that do not add up.

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
            expected = "a posterior with context_features, which the encoder fills"
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
        # The step of the fit, for terms that change in its course.
        self.register_buffer("step", torch.zeros(()))

    @property
    def is_gaussian(self) -> bool:
        """Whether the posterior is a diagonal Gaussian and the prior a standard one."""
        return isinstance(self.posterior, ConditionalNormal) and isinstance(
            self.prior, StandardNormal
        )

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-scales of the Gaussian that the posterior starts from.

        Raises:
            ArgumentError: it starts from none.
        """
        return self.gaussian.parts(context)

    @property
    def gaussian(self) -> ConditionalNormal:
        """The Gaussian that the posterior starts from.

        Raises:
            ArgumentError: it starts from none.
        """
        base = getattr(self.posterior, "base", self.posterior)
        if not isinstance(base, ConditionalNormal):
            expected = "one that is, or starts from, a ConditionalNormal"
            raise ArgumentError("posterior", expected, type(base).__name__)
        return base

    def encode(self, x: Tensor) -> Tensor:
        """Return what the encoder says of observations ``x``, ``(n, context_features)``."""
        context: Tensor = self.encoder(self.likelihood.features(x))
        wanted = (len(x), self.context_features)
        if context.shape != wanted:
            raise ShapeError("encoder", f"one that returns {wanted}", tuple(context.shape))
        return context

    def represent(self, x: Tensor) -> Tensor:
        """Return the means of the posterior's Gaussian, ``(n, latents)``: the usual code."""
        return self.moments(self.encode(x))[0]

    def decode(self, z: Tensor, event_shape: Sequence[int] | None = None) -> Tensor:
        """Return the likelihood's parameters of latents, ``(outputs, *batch, *event_shape)``.

        Args:
            z: ``(*batch, latents)``.
            event_shape: of a row; by default ``row``, or where that is None one vector.
        """
        out: Tensor = self.decoder(z.reshape(-1, self.latents)).flatten(1)
        if event_shape is None:
            event_shape = self.row or (out.shape[1] // self.likelihood.outputs,)
        return self.likelihood.arrange(out, z.shape[:-1], event_shape)

    def draw(self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Draw:
        """Draw latents for observations ``x (n, *event_shape)`` and weigh them."""
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
        """Return the mean row that a latent drawn for each row decodes to, shaped as ``x``."""
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
        """Return what `flowkit.training.fit` is to minimise.

        Args:
            objective: an estimator of `flowkit.estimators`, or its name. With `elbo` the loss is
                the reconstruction and the terms; with any other the bound itself and the terms.
            samples: latents drawn for each row.
            terms: what is added, see `flowkit.vae.objectives`; by default the KL with `elbo`.
            optimizer: makes the optimiser from parameters and learning rate.

        Raises:
            ArgumentError: an unknown objective, no samples, or fewer than it needs; terms that
                are none, that the model is not made for, or that bear one name.
        """
        check_count("samples", samples)
        estimate = estimate_of(objective, samples)
        plain = objective in (elbo, "elbo")
        chosen = _checked(self, ((kl(),) if plain else ()) if terms is None else terms)

        def loss(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = self.draw(self.likelihood.observe(batch.x, generator), samples, generator)
            found: dict[str, Tensor] = {}
            if plain:
                found["reconstruction"] = -mean_over_rows(drawn.log_likelihood, batch.weights)
            else:
                bound, surrogate = estimate(drawn)
                # The value of the bound, with the gradient of the surrogate.
                value = bound + surrogate - surrogate.detach()
                found["negative_bound"] = -mean_over_rows(value, batch.weights)
            for term in chosen:
                for name, value in term(drawn, batch.weights).items():
                    if name in found:
                        raise ArgumentError("terms", "terms of different names", f"two {name!r}")
                    found[name] = value
            return found

        steps = {"vae": Step(self.parameters(), loss, optimizer=optimizer, before=self.step.fill_)}
        for term in chosen:
            more = term.steps(self)
            if steps.keys() & more.keys():
                raise ArgumentError("terms", "one term with such steps", f"two: {', '.join(more)}")
            steps |= more
        return steps

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative ELBO of held-out rows, in nats, whatever is trained on."""
        drawn = self.draw(self.likelihood.observe(batch.x, generator), 1, generator)
        bound = elbo(drawn.log_p, drawn.log_q).bound
        return {"negative_elbo": -mean_over_rows(bound, batch.weights)}

    @torch.no_grad()
    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless rows can be observed and go through all parts; take their shape.

        Raises:
            DataError: a value is impossible under the likelihood; the row is named.
            ShapeError: a part does not fit the others.
        """
        if context is not None:
            raise ContextError("context", "None: the encoder's output is the context", "a tensor")
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
