"""How steady a suite is: the same kernel again and again, and every verdict that is not the same each time.

``record`` is one pass and how it is kept, ``campaign`` runs those that are not there yet, ``report`` tells
what differs. Kernels, cells and judgements are those of every other study.
"""
