"""How the label queue's tables came to be what `schema` says, step by step; run by `service.label_queue.migrate`."""
