"""The serving half of Winnow: it classifies products, queues the questions worth asking, and never loads torch."""
