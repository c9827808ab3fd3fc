"""docs/results.md is made from the declared columns and must not lag behind them."""

from __future__ import annotations

from pathlib import Path

from trojai_seam.tables.documentation import columns_page

ROOT = Path(__file__).parents[2]


def test_the_columns_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert written == columns_page(), "run: python -m trojai_seam.tables.documentation > docs/results.md"
