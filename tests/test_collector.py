"""What stays is left out of the cycle collector's work, and garbage is still found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, weakref
from service.collector import settle

class Node:
    pass

kept = [Node() for _ in range(50_000)]
settle()
seen = sum(isinstance(one, Node) for one in gc.get_objects())
node = Node()
node.itself = node
gone = weakref.ref(node)
del node
for _ in range(30_000):
    kept.append([Node()])
print(seen, gone() is None)
"""


def test_what_lives_when_a_bundle_is_loaded_is_not_looked_at_again_and_new_cycles_are_found() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["0", "True"]
