"""What a gateway finds of a package, by nothing but its digest."""

from __future__ import annotations

import json
from pathlib import Path

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.domain.registry.manifest import to_plain
from tests.unit.adapters.packages.conftest import CONFIG, Records


def test_the_digest_of_a_package_is_the_address_of_its_manifest(
    boosted: Path, records: Records, blobs: DirectoryBlobs
) -> None:
    manifest = PackageWorkbench(blobs).package(boosted, records.files, CONFIG, {})
    assert json.loads(blobs.get(manifest.digest)) == to_plain(manifest)
