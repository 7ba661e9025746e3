"""Collect: from what a guest printed and the host saw to typed observations."""
