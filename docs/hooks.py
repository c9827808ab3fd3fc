"""What `mkdocs build` does to the pages besides: roles of reStructuredText in docstrings become plain code."""

import re
from typing import Any

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>~?\.*([^<]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """``:class:`~a.b.C``` as it came out of Markdown, in short."""
    return ROLE.sub(lambda role: f"<code>{role[1].rsplit('.', 1)[-1]}</code>", html)
