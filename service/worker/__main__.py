"""``python -m service.worker FD``: the body of a worker process."""

from service.worker.process import main

main()
