"""The whole loop in one process, with a simulated backend and simulated annotators."""
