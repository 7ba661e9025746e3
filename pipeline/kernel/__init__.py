"""From a kernel source, a series and config fragments to a built kernel."""
