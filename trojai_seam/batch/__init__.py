"""From a dataset to a run directory: plan, hand out, record, resume, tabulate."""
