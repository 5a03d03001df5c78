"""A worker process: the queues, batches and runs of one device."""
