"""The runs of this machine over time: an index of their verdicts, and what it shows.

The index holds nothing that the run folders do not: it can be made again from them.
"""
