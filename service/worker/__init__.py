"""A worker process: queues, batches and runs on one device."""
