"""What ``evaluate --check`` prints: the models that would not open, and what was looked at in the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import shown

if TYPE_CHECKING:
    from .runner import Checked

LOOKED_AT = (
    "looked at: model file with checksums, its network, tensors and config; example files by their headers, labels, "
    "scale file, tokenizer, embedding"
)
NOT_LOOKED_AT = "not looked at: pixels, numbers and texts of examples; values of weights"


def verdict_lines(checked: Checked) -> list[str]:
    """A line per finding; ``all good`` only where nothing is wrong and nothing was left out."""
    lines = [f"{shown(row['model_id'])}  {row['error_kind']}: {row['error']}" for row in checked.findings]
    good = checked.models - len(checked.findings)
    unseen = good - checked.looked_at.get("examples", 0)
    if unseen:
        lines.append(f"{unseen} files readable and their networks known; their examples were not looked at")
    return lines or ["all good"]


def scope_lines(checked: Checked) -> list[str]:
    """How many would open, and what that is said from."""
    good = checked.models - len(checked.findings)
    return [f"{good} of {checked.models} models would open", LOOKED_AT, NOT_LOOKED_AT]
