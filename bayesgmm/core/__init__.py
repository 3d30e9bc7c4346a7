"""Array mathematics only: numpy, scipy and numba, no labels."""
