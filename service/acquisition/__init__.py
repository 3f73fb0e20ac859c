"""Which questions are worth asking: scores, and cohorts that keep the probabilities they sampled with."""
