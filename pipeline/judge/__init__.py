"""From observations to verdicts: pure functions, no clock, no file, no VM.

``verdict.judge`` is the way in, ``model`` holds what it returns. This package
imports nothing here, so that ``pipeline.study`` can use ``pipeline.judge.expr``.
"""
