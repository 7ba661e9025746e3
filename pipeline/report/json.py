"""run.json: the run itself, from which every other form can be made again."""

from pipeline.run import Run, dumps


def render(run: Run) -> str:
    """The document as text; the same run gives the same bytes."""
    return dumps(run)
