"""Published test log-likelihoods of the UCI regression sets, in nats per row, own units.

Protocol A: the index files of the published splits. B: random splits of the same sizes. C: other,
or not said. None: no figure, or (`_`) minus infinity.
"""

SETS = ("boston", "concrete", "energy", "kin8nm", "naval", "power", "protein", "wine", "yacht")
_ = float("-inf")

# Method, protocol, source, and the figures in the order of the sets.
PUBLISHED: tuple[tuple[str, str, str, tuple[float | None, ...]], ...] = (
    ("PBP (2015)", "A", "s1", (-2.57, -3.16, -2.04, 0.90, 3.73, -2.84, -2.97, -0.97, -1.63)),
    (
        "MC dropout, 10x epochs (2018)", "A", "s2",
        (-2.40, -2.93, -1.21, 1.14, 4.45, -2.80, -2.87, -0.93, -1.25),
    ),
    (
        "Deep ensembles of 5 (2017)", "A", "s1",
        (-2.41, -3.06, -1.38, 1.20, 5.63, -2.79, -2.83, -0.94, -1.18),
    ),
    (
        "Deep ensembles, run anew (2022)", "A", "s3",
        (-2.43, -3.07, -1.38, 1.13, 5.88, -2.81, -2.84, -0.97, -1.06),
    ),
    (
        "Deep evidential regression (2020)", "C", "s4",
        (-2.35, -3.01, -1.39, 1.24, 5.73, -2.81, -2.63, -0.89, -1.03),
    ),
    ("NGBoost (2020)", "B", "s4", (-2.43, -3.04, -0.60, 0.49, 5.34, -2.79, -2.81, -0.91, -0.20)),
    (
        "Wasserstein gradient boosting (2024)", "B", "s4",
        (-2.47, -2.83, -0.53, 0.44, 5.47, -2.60, -2.70, -0.95, -0.16),
    ),
    (
        "NodeFlow (2024; one run)", "A", "s5",
        (None, -3.17, -0.98, 1.00, 5.11, -2.64, -2.03, 0.02, -1.29),
    ),
    (
        "TabResFlow (2025)", "A", "s6",
        (None, -2.90, -0.77, 1.29, 5.30, -2.60, -1.95, 0.85, -0.67),
    ),
    (
        "TabResFlow, run anew (2025)", "A", "s6",
        (None, -2.89, -0.64, 1.28, 5.33, -2.58, -1.93, 0.53, -0.56),
    ),
    (
        "TabPFN, no tuning (2025)", "A", "s6",
        (None, -2.21, -0.15, 1.27, 7.33, -2.28, _, 2.72, 0.73),
    ),
)  # fmt: skip

SOURCES = {
    "s1": "Lakshminarayanan, Pritzel and Blundell, Deep Ensembles (2017), table 1",
    "s2": "readme of github.com/yaringal/DropoutUncertaintyExps",
    "s3": "github.com/evwalz/easyuq, ML_example/deep_ens/UCI_Datasets",
    "s4": "the paper of Wasserstein gradient boosting (2024), table 1; all but its own row quoted",
    "s5": "github.com/pfilo8/NodeFlow, notebooks/[UCI]_Results.ipynb",
    "s6": "readme of a thesis repository that ran TabResFlow and TabPFN, quoting TabResFlow's "
    "paper; that its splits are the published ones was not checked",
}
