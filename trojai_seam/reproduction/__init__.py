"""The statements of the SEAM paper (arXiv 2212.04687), each measured again on data that everybody can get.

A *part* is a statement or two: a list of units of work, each of which leaves one JSON file, and a function from these
to tables, figures and verdicts. Nothing is downloaded. Attack success is measured once a method has ended, and decides
nothing.
"""
