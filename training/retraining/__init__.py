"""Learning from people's answers: a warm start, a judgement by answers kept apart, a promotion."""
