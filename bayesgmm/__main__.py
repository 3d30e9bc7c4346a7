"""``python -m bayesgmm``."""

from bayesgmm.cli import main

main()
