"""The members of the ensemble, one kind a file."""
