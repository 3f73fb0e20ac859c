"""The same graph behind other people's servers; each file runs in an environment of its own."""
