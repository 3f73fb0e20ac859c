"""One file a step; each adds, and what it makes superfluous is removed a release later."""
