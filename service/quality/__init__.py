"""Live quality: what people's answers to sampled questions say of what is served, without bias."""
