"""What there is to name on the command line: listed in short, or shown whole."""
