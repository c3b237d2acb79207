"""Reading what packages say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lockgate.adapters.blobs.directory import DirectoryBlobs
from tests.serving import keep_classifier

_TOGETHER = """
import sys, threading
from pathlib import Path
from lockgate.adapters.blobs.directory import DirectoryBlobs
sys.setswitchinterval(1e-6)
from lockgate.dataplane.loading import read_manifest

blobs, digest = DirectoryBlobs(Path(sys.argv[1])), sys.argv[2]
start, found = threading.Barrier(8), []

def read():
    start.wait()
    found.append(read_manifest(digest, blobs).model)

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(found)
"""


def test_a_fresh_process_reads_many_packages_at_once(tmp_path: Path) -> None:
    digest = keep_classifier(DirectoryBlobs(tmp_path))
    told = subprocess.run(
        [sys.executable, "-c", _TOGETHER, str(tmp_path), digest], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == str(["thyroid"] * 8)
