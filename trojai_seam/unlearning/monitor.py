"""When and how a phase of training ends: its stop rule, its statuses; the same for one network and for many."""

from __future__ import annotations

from .outcome import PhaseOutcome
from .training_settings import StopRule, TrainingSettings

TRACE_EVERY = 5
"""Epochs after which a network in a phase without a stop rule is asked all fit examples, for the trace alone. It is
always asked at the end of the phase."""


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


class PhaseMonitor:
    """Follows one network through one phase of training, and says how that ended.

    Args:
        settings: of the phase.
        forgets: the stop rule is met below its threshold.
        guess: see ``Task.guess``.
        chance: see ``Task.chance``.
        start: fit accuracy when the phase begins.
    """

    def __init__(self, settings: TrainingSettings, forgets: bool, guess: float, chance: float, start: float) -> None:
        self.name, self.start, self.accuracy = settings.name, start, start
        self.limit = threshold(settings.stop, guess, chance, start)
        self._watcher = StopWatcher(settings.stop, self.limit, below=forgets)
        self._trivial = self._watcher.trivial(start)
        self._last = settings.max_epochs - 1
        self._watches = self.limit is not None or settings.stop.decline_after is not None

    def asks(self, epoch: int, last: bool, every: int = TRACE_EVERY) -> bool:
        """Whether the accuracy after ``epoch`` (counted from 0) is wanted, if only for the trace, which gets a point
        ``every`` so many epochs; ``last``: no step is left."""
        return self._watches or last or epoch >= self._last or (epoch + 1) % every == 0

    def status(self, epoch: int, accuracy: float | None, last: bool, late: bool = False) -> str | None:
        """How the phase has ended with this epoch; ``None`` if it goes on.

        Args:
            epoch: counted from 0.
            accuracy: on the fit examples, after it; ``None`` where it was not asked for.
            last: no step is left.
            late: no time is left.
        """
        self.accuracy = self.accuracy if accuracy is None else accuracy
        if accuracy is not None and self._watcher.should_stop(epoch, accuracy):
            if self._watcher.declined:
                return "declined"
            return "trivial-threshold" if self._trivial else "reached"
        if last or epoch >= self._last:
            return "no-rule" if self.limit is None else "missed"
        return "time-limit" if late else None

    def outcome(self, status: str, epochs: int, steps: int, seconds: float = 0.0) -> PhaseOutcome:
        """The phase as it ended."""
        limit = None if status == "off" else self.limit
        return PhaseOutcome(self.name, status, limit, self.start, self.accuracy, epochs, steps, seconds)

    def lost(self, epoch: int) -> str:
        """What to say of a loss that is no number."""
        return f"the {self.name} loss became non-finite in epoch {epoch}; lower {self.name}.learning_rate"
