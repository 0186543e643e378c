"""Schedule of critic and generator steps."""

from dataclasses import dataclass

from flowkit._checks import check_count
from flowkit.errors import ArgumentError


@dataclass(frozen=True)
class CriticSchedule:
    """Critic steps before each generator step: more at the start, and periodically.

    Args:
        steps: critic steps per generator step.
        many: critic steps for the first generator steps, and for every ``period``-th.
        first: number of generator steps at the start with ``many`` critic steps.
        period: number of generator steps from one with ``many`` critic steps to the next; 0 for
            none after the start.

    Called with the number of a critic step, the schedule returns whether a generator step follows.

    Raises:
        ArgumentError: no critic steps, or a start longer than the period.

    Reference: Arjovsky, Chintala and Bottou, *Wasserstein GAN*, 2017, the authors' code.

    Example:
        >>> often = CriticSchedule(steps=2, many=4, first=2, period=3)
        >>> [step for step in range(1, 25) if often(step)]
        [4, 8, 10, 14, 16, 18, 22, 24]
    """

    steps: int = 5
    many: int = 100
    first: int = 25
    period: int = 500

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("many", self.many)
        check_count("first", self.first, 0)
        if check_count("period", self.period, 0) and self.period < max(self.first, 1):
            raise ArgumentError("period", f"0, or at least {max(self.first, 1)}", self.period)

    def __call__(self, step: int) -> bool:
        """Return whether a generator step follows a critic step."""
        start = self.first * self.many
        if step <= start:
            return step % self.many == 0
        step -= start
        rest = (self.period - self.first) * self.steps if self.first else 0
        if not self.period or step <= rest:
            return step % self.steps == 0
        # Then in periods: one generator step after many critic steps, the others after few.
        step = (step - rest - 1) % (self.many + (self.period - 1) * self.steps) + 1
        return step >= self.many and (step - self.many) % self.steps == 0
