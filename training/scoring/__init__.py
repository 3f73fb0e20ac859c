"""Scoring a catalogue of any size, and the label queue filled from it."""
