"""How sharp a suite is: kernels with seeded bugs must fail, and legal variants of a kernel must pass.

``mutant`` reads the patches, ``campaign`` builds, runs and keeps, ``score`` says what a run of
a mutant shows, ``report`` puts it into words. Kernels, cells and judgements are those of every
other study.
"""
