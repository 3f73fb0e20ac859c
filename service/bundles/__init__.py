"""Bundles: read and checked, kept in the model store, promoted, rolled back and swapped."""
