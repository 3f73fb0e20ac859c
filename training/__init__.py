"""The offline half of Winnow: catalogues, members, joint training, evaluation, and the command line."""
