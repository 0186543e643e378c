"""Proposal: a Gaussian mixture fitted to draws of a density, and the broad Student t."""

import numpy as np

from flowkit.tabular.conditioning.closed import ClosedMixture
from flowkit.tabular.continuous.density import ContinuousDensity
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import MixtureMember, StudentMember
from flowkit.tabular.continuous.preprocessing import Marginals, Residuals, Standardiser

DRAWS = 20_000
_COMPONENTS = 24
# Share of the Student t: it bounds the weights far out.
_BROAD = 0.05


def proposal_of(
    density: ContinuousDensity, values: np.ndarray, context: np.ndarray | None, seed: int
) -> ClosedMixture:
    """Return a mixture near a density, with conditionals of a closed form.

    It is fitted to draws, and not to the table: files of any age have one.

    Args:
        density: the density.
        values: draws of it, ``(n, d)``, NaN where absent.
        context: their context, ``(n, c)``; None without one.
        seed: random seed of the fit.
    """
    member = density.fitted[0].member
    circular, weights = np.asarray(member.circular), np.ones(len(values))
    marginals = Marginals.fit(values, weights, circular, grids=False)
    map_ = Standardiser(marginals)
    if context is not None:
        y = map_.standardised(values, None)
        map_ = Standardiser(marginals, Residuals.fit(y, context, weights, circular))
    y = map_.standardised(values, context)
    here = ~np.isnan(y).all(1)
    components = _COMPONENTS if here.sum() > 50 * _COMPONENTS else 1
    mixture = MixtureMember.fit(y[here], weights[here], components, circular, seed=seed)
    student = StudentMember.fit(values, weights, circular)
    fitted = [FittedMember(mixture, map_, "proposal"), FittedMember(student, None, "broad")]
    return ClosedMixture(fitted, np.log([1 - _BROAD, _BROAD]).tolist())
