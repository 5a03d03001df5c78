"""A frontend process: checks and decodes requests, waits for a worker, and answers."""
