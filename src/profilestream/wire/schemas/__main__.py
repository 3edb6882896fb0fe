"""`python -m profilestream.wire.schemas DIR` writes the schemas of the built-in types and of all outputs."""

import sys
from pathlib import Path

from profilestream.wire.schemas.files import write

if len(sys.argv) != 2:
    sys.exit("usage: python -m profilestream.wire.schemas DIR")
write(Path(sys.argv[1]))
