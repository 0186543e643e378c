"""History of a fit: loss terms, validation scores, and its end."""

from dataclasses import dataclass, field


@dataclass
class History:
    """The course of a fit.

    Attributes:
        terms: for each named step, each term of its loss, one value per update. For maximum
            likelihood: ``terms["likelihood"]["negative_log_likelihood"]``, in nats.
        validation: ``(step, mean loss of the validation rows)``.
        best_step: the step of the final weights; 0 if no step improved on the starting weights.
        stopped: the reason why the fit ended: "steps", "patience", "callback" or "max_seconds".
        starting_score: mean loss of the validation rows before the first step; None without
            validation.
    """

    terms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""
    starting_score: float | None = None

    @property
    def loss(self) -> list[float]:
        """The loss of the first named step: the sum of its terms, one value per update."""
        for terms in self.terms.values():
            return [sum(values) for values in zip(*terms.values(), strict=True)]
        return []
