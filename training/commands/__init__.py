"""The commands of `winnow`, a group a file; `training.cli` puts them together."""
