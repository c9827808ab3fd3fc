"""A method of unlearning in a package of its own."""
