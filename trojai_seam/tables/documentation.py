"""The columns as a Markdown page: ``python -m trojai_seam.tables.documentation > docs/results.md``."""

from __future__ import annotations

from .columns import COLUMNS

_HEAD = """# The columns of results.csv

Made from `trojai_seam/tables/columns.py` by `python -m trojai_seam.tables.documentation`; do not edit by hand.

One row per model, sorted by `model_id`. Missing is empty, never 0. In `results.parquet` the same columns have pandas'
nullable types (text: string, flag: boolean, count: Int64, number: Float64). Columns marked *timing* differ from run to
run; all others are the same whenever the same settings and seed meet the same model on the same machine.

| column | type | better | meaning |
|---|---|---|---|
"""


def columns_page() -> str:
    """``docs/results.md`` as it should be."""
    lines = []
    for column in COLUMNS:
        kind = f"{column.kind}, timing" if column.timing else column.kind
        lines.append(f"| `{column.name}` | {kind} | {column.better} | {column.meaning} |")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(columns_page(), end="")
