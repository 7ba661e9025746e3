"""kpv: from a kernel patch series to a verdict on arm64 hardware semantics."""

__version__ = "0.1.0"
