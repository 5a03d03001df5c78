"""``python -m service.frontend FD``: the body of a frontend process."""

from service.frontend.process import main

main()
