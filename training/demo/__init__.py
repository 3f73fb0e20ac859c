"""The demo catalogue: a made-up shop, drawn and written down, so that everything can be tried without a download."""
