"""What operators see: metrics, drift, traffic, the label queue's state, logs."""
