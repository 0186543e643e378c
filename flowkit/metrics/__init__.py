"""Metrics of densities, samples, representations and importance weights."""

from flowkit.metrics.calibration import Band, Uniformity, ranks, uniformity
from flowkit.metrics.clusters import cluster_classes, cluster_error
from flowkit.metrics.disentanglement import (
    DCI,
    SAP,
    active_units,
    beta_vae_score,
    dci,
    factor_vae_score,
    group_information,
    mig,
    mutual_information,
    sap,
)
from flowkit.metrics.importance import Smoothed, effective_samples, psis
from flowkit.metrics.likelihood import Mean, mean, mean_difference
from flowkit.metrics.local_c2st import LocalC2ST, local_c2st
from flowkit.metrics.neighbours import Closeness, closeness
from flowkit.metrics.samples import (
    Held,
    PrecisionRecall,
    energy_distance,
    frechet_distance,
    modes_held,
    precision_recall,
    sliced_wasserstein,
    squared_mmd,
    wasserstein_1,
)
from flowkit.metrics.sbc import SBC, sbc, sbc_ranks
from flowkit.metrics.tarp import TARP, tarp
from flowkit.metrics.two_sample import TwoSample, classifier_accuracy, two_sample

__all__ = [
    "DCI",
    "SAP",
    "SBC",
    "TARP",
    "Band",
    "Closeness",
    "Held",
    "LocalC2ST",
    "Mean",
    "PrecisionRecall",
    "Smoothed",
    "TwoSample",
    "Uniformity",
    "active_units",
    "beta_vae_score",
    "classifier_accuracy",
    "closeness",
    "cluster_classes",
    "cluster_error",
    "dci",
    "effective_samples",
    "energy_distance",
    "factor_vae_score",
    "frechet_distance",
    "group_information",
    "local_c2st",
    "mean",
    "mean_difference",
    "mig",
    "modes_held",
    "mutual_information",
    "precision_recall",
    "psis",
    "ranks",
    "sap",
    "sbc",
    "sbc_ranks",
    "sliced_wasserstein",
    "squared_mmd",
    "tarp",
    "two_sample",
    "uniformity",
    "wasserstein_1",
]
