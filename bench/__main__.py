"""``python -m bench`` and ``python -m bench peers``."""

import sys

if sys.argv[1:2] == ["peers"]:
    del sys.argv[1]
    from bench.peers.run import main
else:
    from bench.run import main

main()
