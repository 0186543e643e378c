"""When the generator takes its turn."""

from dataclasses import dataclass

from flowkit._checks import check_count
from flowkit.errors import ArgumentError


@dataclass(frozen=True)
class CriticSchedule:
    """Steps of the critic before each step of the generator: more at first, and now and then.

    Args:
        steps: of the critic, for each of the generator's.
        many: instead, for the first of the generator's and for every ``period``-th.
        first: number of the generator's steps at the start that get so many.
        period: of those that get so many later on; 0 for none.

    Called with the number of a step of the fit, which is one of the critic's, it says whether the
    generator takes one after it.

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
        """Return whether the generator takes a step after this one."""
        start = self.first * self.many
        if step <= start:
            return step % self.many == 0
        step -= start
        rest = (self.period - self.first) * self.steps if self.first else 0
        if not self.period or step <= rest:
            return step % self.steps == 0
        # Then in rounds: one of the generator's steps after many, the others after few.
        step = (step - rest - 1) % (self.many + (self.period - 1) * self.steps) + 1
        return step >= self.many and (step - self.many) % self.steps == 0
