"""HTTP: routes, what may stand in a request, who may ask, and how a refusal reads."""
