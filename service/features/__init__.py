"""From a product to the numbers a graph reads: the same functions at training and at serving time."""
