"""Adversarial autoencoders, with any decoder or with a PixelCNN."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_called, check_choice, check_count
from flowkit._noise import below, normal
from flowkit._training_mode import evaluating
from flowkit.distributions import Distribution, Likelihood, PixelDistribution, StandardNormal
from flowkit.distributions.base import check_distribution_type
from flowkit.errors import ArgumentError, ContextError, DataError, DtypeError, ShapeError
from flowkit.gan.classifier import checked_classes
from flowkit.gan.critics import check_scores, scores_of
from flowkit.gan.losses import Game, game_name, game_named
from flowkit.gan.model import adam
from flowkit.nets import PixelCNN
from flowkit.training import Batch, Step, mean_over_rows
from flowkit.training.average import batch_norms


class Codes(NamedTuple):
    """Outputs of an encoder.

    Attributes:
        code: input of decoder and critic, ``(n, categories + latents)``: probabilities of the
            categories, then latents.
        logits: logits of the categories, ``(n, categories)``.
    """

    code: Tensor
    logits: Tensor


class AdversarialAutoencoder(nn.Module):
    """An autoencoder whose aggregated posterior is matched to a prior by a critic.

    A fit alternates up to four steps. Encoder and decoder minimise the reconstruction error. The
    critic distinguishes codes from draws of the prior. The encoder maximises the critic's error.
    With labelled rows, the encoder minimises the cross-entropy of the categories.

    Args:
        encoder: maps flattened ``likelihood.features(x)`` to ``categories + latents`` numbers, or
            ``categories + 2 * latents`` for a Gaussian posterior.
        decoder: a conditional distribution with a ``likelihood``, such as `Factorized` or a
            conditional `PixelDistribution`.
        critic: maps codes to scores. With categories, use `spectral_norm_`: a steep critic
            separates one-hot codes from any probabilities, and gives the encoder little gradient.
        categories: number of values of the categorical code, 0 for none; the prior is uniform.
        latents: number of continuous codes, 0 for none.
        prior: distribution of the latents; by default a standard normal.
        posterior: posterior of the latents: "deterministic"; "gaussian", with mean and log-scale;
            or "noise", with noise as additional input of the encoder.
        noise: number of noise inputs with ``posterior="noise"``.
        loss: adversarial loss of the codes, a `Game` or its name.

    The default learning rate is 3e-4. The validation loss is the reconstruction error in nats. If
    rows are probabilities and the likelihood is stochastic, observations are drawn at each use.

    Raises:
        ArgumentError: neither categories nor latents, or a number out of range.
        ShapeError: a prior or decoder for another number of codes.

    Reference: Makhzani, Shlens, Jaitly, Goodfellow and Frey, *Adversarial autoencoders*, 2015.

    Example:
        >>> from flowkit.gan import Factorized
        >>> from flowkit.nets import MLP
        >>> from flowkit.training import fit
        >>> decoder = Factorized(MLP(4, 8), (8,), codes=4)
        >>> model = AdversarialAutoencoder(MLP(8, 4), decoder, MLP(4, 1), categories=3, latents=1)
        >>> history = fit(model, torch.rand(64, 8).round(), steps=5)
        >>> list(history.terms)
        ['reconstruction', 'critic', 'encoder']
        >>> model.clusters(torch.zeros(2, 8)).shape
        torch.Size([2])
    """

    default_learning_rate = 3e-4

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Distribution,
        critic: nn.Module,
        *,
        categories: int = 0,
        latents: int = 0,
        prior: Distribution | None = None,
        posterior: str = "deterministic",
        noise: int = 0,
        loss: str | Game = "non_saturating",
    ) -> None:
        super().__init__()
        check_called("encoder", encoder, "f(x)", 1)
        check_called("critic", critic, "f(code)", 1)
        self.categories = check_count("categories", categories, 0)
        self.latents = check_count("latents", latents, 0)
        if categories == 1 or not categories + latents:
            raise ArgumentError("categories", "at least 2, or 0 if there are latents", categories)
        self.posterior = check_choice(
            "posterior", posterior, ("deterministic", "gaussian", "noise")
        )
        self.noise = check_count("noise", noise, 1 if posterior == "noise" else 0)
        if noise and posterior != "noise":
            raise ArgumentError("noise", f"0 for posterior={posterior!r}", noise)
        codes = categories + latents
        if not isinstance(decoder, Distribution) or not hasattr(decoder, "likelihood"):
            expected = "a conditional distribution with a likelihood, such as Factorized"
            raise ArgumentError("decoder", expected, type(decoder).__name__)
        if decoder.context_features != codes:
            expected = f"{codes} context_features ({categories} categories, {latents} latents)"
            raise ShapeError("decoder", expected, decoder.context_features)
        if prior is None and latents:
            prior = StandardNormal(latents)
        if prior is not None:
            check_distribution_type("prior", prior)
        if prior is not None and tuple(prior.event_shape) != (latents,):
            raise ShapeError("prior", f"event shape ({latents},)", prior.event_shape)
        self.encoder, self.decoder, self.critic, self.prior = encoder, decoder, critic, prior
        self.game = game_named(loss)

    def extra_repr(self) -> str:
        """Return the settings of codes and loss."""
        return (
            f"categories={self.categories}, latents={self.latents}, posterior={self.posterior}, "
            f"noise={self.noise}, loss={game_name(self.game)}"
        )

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of the decoder."""
        return cast(Likelihood, self.decoder.likelihood)

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Codes:
        """Return the codes of rows ``x (n, *event_shape)``, with a gradient."""
        inputs = self.likelihood.features(x).flatten(1)
        if self.noise:
            inputs = torch.cat([inputs, normal((len(x), self.noise), inputs, generator)], 1)
        out: Tensor = self.encoder(inputs)
        spread = self.latents if self.posterior == "gaussian" else 0
        shape = (len(x), self.categories + self.latents + spread)
        if out.shape != shape:
            raise ShapeError("encoder", f"an output of shape {shape}", tuple(out.shape))
        logits, latents, log_scale = out.split([self.categories, self.latents, spread], 1)
        if spread:
            latents = latents + log_scale.exp() * normal(latents.shape, latents, generator)
        return Codes(torch.cat([logits.softmax(1), latents], 1), logits)

    def prior_codes(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes of the prior ``(n, categories + latents)``: one-hot categories, latents."""
        like, parts = next(self.parameters()), []
        if self.categories:
            drawn = below(self.categories, n, like, generator)
            parts.append(F.one_hot(drawn, self.categories).to(like))
        if self.prior is not None:
            with torch.no_grad():
                parts.append(self.prior.sample((n,), generator=generator))
        return torch.cat(parts, 1)

    @torch.no_grad()
    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(n, *event_shape)``: codes of the prior, decoded."""
        return self.decode(self.prior_codes(n, generator), generator)

    @torch.no_grad()
    def decode(self, code: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a row for each code ``(n, categories + latents)``."""
        return self.decoder.sample((), code, generator)

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probabilities of the categories of rows, ``(n, categories)``.

        Raises:
            ArgumentError: the model has no categories.
        """
        if not self.categories:
            raise ArgumentError("categories", "at least 2 in the model", 0)
        parts = [self.encode(part).logits.softmax(1) for part in x.split(1_000)]
        return torch.cat(parts)

    def clusters(self, x: Tensor) -> Tensor:
        """Return the most probable category of each row, ``(n,)``."""
        return self.probabilities(x).argmax(1)

    def training_steps(
        self,
        *,
        labelled: tuple[Tensor, Tensor] | None = None,
        label_batch: int = 100,
        optimizer: Any = None,
    ) -> dict[str, Step]:
        """Return the training steps of `flowkit.training.fit`.

        Args:
            labelled: rows ``(m, *event_shape)`` and their classes ``(m,)``, integers below the
                number of categories, for semi-supervised learning.
            label_batch: labelled rows in each step.
            optimizer: makes the optimiser of a step from parameters and learning rate.

        Raises:
            DataError: a label outside of the classes; the row is named.
        """
        rebuilding = [*self.encoder.parameters(), *self.decoder.parameters()]
        encoding = list(self.encoder.parameters())
        steps = {
            "reconstruction": Step(rebuilding, self._reconstruction, optimizer=optimizer),
            "critic": Step(self.critic.parameters(), self._critic, optimizer=optimizer or adam),
            "encoder": Step(encoding, self._fooling, optimizer=optimizer or adam),
        }
        if labelled is not None:
            if not isinstance(labelled, tuple | list) or len(labelled) != 2:
                expected = "a pair of rows and labels, or None"
                raise ArgumentError("labelled", expected, type(labelled).__name__)
            x, labels = self._checked(*labelled)
            check_count("label_batch", label_batch)
            if min(len(x), label_batch) == 1 and batch_norms(self.encoder):
                expected = "at least 2 rows per step, because the encoder has batch norms"
                raise ArgumentError("labelled", expected, "1 row")

            def learning(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
                rows = below(len(x), min(label_batch, len(x)), x, generator)
                observed = self.likelihood.observe(x[rows].to(batch.x), generator)
                logits, classes = self.encode(observed, generator).logits, labels[rows]
                return {"cross_entropy": F.cross_entropy(logits, classes.to(logits.device))}

            steps["labels"] = Step(encoding, learning, optimizer=optimizer)
        return steps

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative log-likelihood of held-out rows given their codes, in nats."""
        return self._reconstruction(batch, generator)

    @torch.no_grad()
    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless the likelihood and all networks accept the rows.

        Raises:
            DataError: a value is outside the support of the likelihood; the row is named.
            ShapeError: the shapes of two parts differ.
        """
        if context is not None:
            expected = "None; labels are passed as labelled=(rows, labels)"
            raise ContextError("context", expected, "a tensor")
        event = tuple(self.decoder.event_shape)
        if tuple(x.shape[1:]) != event:
            raise ShapeError("data", f"rows (n, {', '.join(map(str, event))})", tuple(x.shape))
        self.likelihood.check(x)
        with evaluating(self):
            observed = self.likelihood.observe(x[:2])
            code = self.encode(observed).code
            self.decoder.log_prob(observed, code)
            check_scores(self.critic, code, "code")

    def _reconstruction(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = self.likelihood.observe(batch.x, generator)
        nats = -self.decoder.log_prob(x, self.encode(x, generator).code)
        return {"reconstruction": mean_over_rows(nats, batch.weights)}

    def _critic(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            x = self.likelihood.observe(batch.x, generator)
            code = self.encode(x, generator).code
        real = self.game.real(scores_of(self.critic, self.prior_codes(len(x), generator)))
        fake = self.game.fake(scores_of(self.critic, code))
        return {"critic": real.mean() + mean_over_rows(fake, batch.weights)}

    def _fooling(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = self.likelihood.observe(batch.x, generator)
        scores = scores_of(self.critic, self.encode(x, generator).code)
        return {"adversarial": mean_over_rows(self.game.generator(scores), batch.weights)}

    def _checked(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not self.categories:
            raise ArgumentError("labelled", "None for a model without categories", "rows")
        if not isinstance(x, Tensor) or not isinstance(labels, Tensor):
            kinds = f"{type(x).__name__} and {type(labels).__name__}"
            raise DtypeError("labelled", "two tensors, rows and labels", kinds)
        if not len(x):
            raise ShapeError("labelled", "at least one row", tuple(x.shape))
        if labels.shape != (len(x),) or tuple(x.shape[1:]) != tuple(self.decoder.event_shape):
            expected = f"rows (m, {tuple(self.decoder.event_shape)}) and m labels"
            raise ShapeError("labelled", expected, f"{tuple(x.shape)} and {tuple(labels.shape)}")
        try:
            self.likelihood.check(x)
        except DataError as error:
            raise error.of("labelled") from error
        return x, checked_classes("labelled", labels, self.categories)


class PixelGANAutoencoder(AdversarialAutoencoder):
    """An adversarial autoencoder with a PixelCNN as decoder: an autoregressive model of pixels.

    A PixelCNN models local structure within its receptive field, so the code represents global
    structure. A categorical code yields clusters. With ``conditioning="invariant"`` the code is
    shared by all pixels; if the receptive field is small, the code then represents style of
    strokes. In that case ``"dependent"``, with position-dependent parameters, is better.

    Args:
        encoder: as in `AdversarialAutoencoder`.
        decoder: a `PixelCNN` with ``categories + latents`` context features.
        critic: as in `AdversarialAutoencoder`.
        likelihood: likelihood of a scalar, or its name.
        options: ``categories``, ``latents``, ``prior``, ``posterior``, ``noise`` and ``loss``, as
            in `AdversarialAutoencoder`.

    Reference: Makhzani and Frey, *PixelGAN autoencoders*, 2017.

    Example:
        >>> from flowkit.nets import MLP
        >>> pixels = PixelCNN((1, 4, 4), hidden=8, layers=2, context_features=5)
        >>> model = PixelGANAutoencoder(MLP(16, 5), pixels, MLP(5, 1), categories=5)
        >>> model.sample(3).shape
        torch.Size([3, 1, 4, 4])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: PixelCNN,
        critic: nn.Module,
        *,
        likelihood: str | Likelihood = "bernoulli",
        **options: Any,
    ) -> None:
        super().__init__(encoder, PixelDistribution(decoder, likelihood), critic, **options)
