"""From a checked request to a worker and back: slots, tickets, outcomes."""
