"""Statistics behind a verdict. Pure: numbers in, numbers out; no clock, no randomness, no SciPy."""
