"""The columns as a Markdown page: ``python -m trojai_seam.tables.documentation > docs/results.md``."""

from __future__ import annotations

from .columns import COLUMNS

_HEAD = """# The columns of results.csv

Made from `trojai_seam/tables/columns.py` by `python -m trojai_seam.tables.documentation`; do not edit by hand.

One row per model, sorted by `model_id`. Missing is empty, never 0. In `results.parquet` the same columns have pandas'
nullable types (text: string, flag: boolean, count: Int64, number: Float64). Columns marked *timing* differ from run to
run; all others are the same whenever the same settings and seed meet the same model on the same machine.

A *share* lies in 0 … 1. *Better* is the direction in which a method improves. *In the record* is where the value is in
`records/MODEL.h5`: `@name` is an attribute of the file's root (a text of more than 30 000 bytes: the dataset
`texts/name`); after *from* stand the datasets that it was computed from (`*`: every fold). Two attributes are in no
table: `nist_config` and `nist_metadata`, the whole of the model's config.json and of its row of METADATA.csv as JSON;
`trojai-seam tables RUN --by config.KEY` or `--by metadata.KEY` groups by any of them. Columns marked ∑ are summarised
over models by `tables`, `compare` and `report`.

In CSV files a text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`, a tab or a line end)
has an apostrophe in front. `results.parquet` and the records hold it unchanged.

| column | type | unit | better | meaning | in the record |
|---|---|---|---|---|---|
"""


def columns_page() -> str:
    """``docs/results.md`` as it should be."""
    lines = []
    for column in COLUMNS:
        kind = f"{column.kind}, timing" if column.timing else column.kind
        mark = " ∑" if column.summarised else ""
        lines.append(
            f"| `{column.name}`{mark} | {kind} | {column.unit} | {column.better} | {column.meaning} "
            f"| `{column.source}` |"
        )
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(columns_page(), end="")
