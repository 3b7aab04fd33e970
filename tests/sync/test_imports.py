"""What importing the blocking face costs."""

import subprocess
import sys


def loaded(name):
    show = f"import sys, {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_it_loads_no_more_than_the_asynchronous_face():
    assert loaded("providers.sync") - loaded("providers.runtime") == {"providers.sync"}
