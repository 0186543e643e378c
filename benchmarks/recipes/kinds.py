"""Kinds of rows: functions that train and score a row."""

from collections.abc import Callable

from recipes import adversarial, densities, disentangling, latent, posteriors
from recipes.measured import Measured

KINDS: dict[str, Callable[..., Measured]] = {
    "gaussian": densities.gaussian,
    "table": densities.table,
    "flow": densities.flow,
    "vae": latent.vae,
    "belief": latent.belief,
    "ladder": latent.ladder,
    "hierarchy": latent.hierarchy,
    "disentangling": disentangling.measure,
    "posterior": posteriors.variational,
    "amortised": posteriors.amortised,
    "pixels": adversarial.pixels,
    "codes": adversarial.codes,
    "images": adversarial.images,
    "flow-gan": adversarial.flow_gan,
    "modes": adversarial.modes,
}
