"""Stop rules on fit accuracy: the only thing that may end a phase early."""

from __future__ import annotations

from .config import StopRule


def threshold(rule: StopRule, guess: float, chance: float, start: float) -> float | None:
    """The accuracy at which ``rule`` is met, or ``None`` if it sets no term.

    Args:
        rule: the terms; the smallest of those that are set counts.
        guess: accuracy of uniformly random answers, 1/C for C classes; see ``Task.guess``.
        chance: accuracy of knowing nothing, see ``Task.chance``.
        start: accuracy on the fit examples when the phase begins.
    """
    terms = []
    if rule.accuracy is not None:
        terms.append(rule.accuracy)
    if rule.chance_multiple is not None:
        terms.append(rule.chance_multiple * guess)
    if rule.chance_margin is not None:
        terms.append(chance + rule.chance_margin * (start - chance))
    return min(terms) if terms else None


class StopWatcher:
    """Counts the epochs that meet a stop rule. ``below`` for forgetting, above for recovery."""

    def __init__(self, rule: StopRule, limit: float | None, below: bool) -> None:
        self.rule, self.limit, self.below = rule, limit, below
        self._left = rule.patience
        self._best = 0.0
        self.declined = False

    def met(self, accuracy: float) -> bool:
        """Whether ``accuracy`` is strictly beyond the threshold."""
        if self.limit is None:
            return False
        return accuracy < self.limit if self.below else accuracy > self.limit

    def trivial(self, start: float) -> bool:
        """Whether meeting the rule proves nothing: forgetting from no more than its threshold (2/C for two classes is
        1.0), or recovery from more than its own."""
        if self.limit is None:
            return False
        return start <= self.limit if self.below else start > self.limit

    def should_stop(self, epoch: int, accuracy: float) -> bool:
        """Take note of the accuracy after ``epoch`` (counted from 0) and say whether the phase is over."""
        self._best = max(self._best, accuracy)
        falling = (
            self.rule.decline_after is not None
            and epoch > self.rule.decline_after
            and accuracy < self._best - self.rule.decline_tolerance
        )
        if self.met(accuracy) or falling:
            self.declined = falling
            self._left -= 1
        elif self.rule.consecutive:
            self._left = self.rule.patience
        return self._left <= 0


def final_status(status: str, trivial: bool, limit: float | None) -> str:
    """``PhaseOutcome.status`` of a phase that ended as ``reached``, ``declined``, ``missed`` or ``time-limit``."""
    if status == "reached" and trivial:
        return "trivial-threshold"
    return "no-rule" if status == "missed" and limit is None else status
