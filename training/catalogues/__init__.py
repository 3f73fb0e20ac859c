"""Catalogues: a shop's tables, checked cell by cell and read as products and labels."""
