"""NIST's container command lines on top of the same engine: ``infer``, ``configure``, ``mitigate`` and ``test``.

Source of the interface: usnistgov/trojai-example (entry points of every round) and usnistgov/trojai-test-harness (what
the server really passes). Nothing here imports torch before the caches have been moved into the scratch folder.
"""
