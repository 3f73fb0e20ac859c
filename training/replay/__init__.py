"""The label-complexity study: how many answers each way of asking needs."""
