"""Open-set supervised image anomaly detection as a reproducible, data-versioned benchmark.

Importing this package is cheap on purpose: numerical libraries are imported by the modules
that compute, when they compute.
"""

__version__ = "0.1.0"
