"""Random sequences of operations against a kernel, for as long as one likes: ``guest-tests/lazyfree_fuzz.c``."""
