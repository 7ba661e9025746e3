"""The forms of a report on costs, each made from cost.json alone."""
