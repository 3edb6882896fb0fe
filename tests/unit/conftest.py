"""The examples of Hypothesis have the bounds of `tests/property` here too, whichever folder is run alone."""

import tests.property.conftest  # noqa: F401
