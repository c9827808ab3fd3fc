"""The report: one self-contained HTML file, and its figures alone."""

from .content import Run as Run
from .page import render_page as render_page
from .study import Study as Study
from .study import render_study as render_study
