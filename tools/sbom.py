"""``make sbom``: what an installation consists of, as CycloneDX 1.6 JSON, from the runtime lock.

The same lock gives the same bytes: there is no date and no random number in it. Licences are what the installed
packages say of themselves.
"""

import json
import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution, metadata
from typing import cast

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from xinhuo import __version__

from . import locks

#: What some packages say, in the words of SPDX.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.1-or-later",
    "ISC License": "ISC",
    "LGPL": "LGPL-2.1-or-later",
    "MIT License": "MIT",
    "PSFL": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
#: What cannot be said more exactly than the package does.
_AS_THEY_SAY = {"BSD", "BSD License"}


class Unknown(Exception):
    """A locked package is not installed, or in another version, or says nothing of its licence."""


def licence_of(package: locks.Pinned) -> str:
    """Return the licence of an installed package, in the words of SPDX if it can be; raises Unknown."""
    try:
        found = cast(Message, metadata(package.name))
    except PackageNotFoundError:
        raise Unknown(f"{package.name} is not installed") from None
    if found["Version"] != package.version:
        raise Unknown(f"{package.name} {found['Version']} is installed, {package.version} is locked")
    if expression := found.get("License-Expression"):
        return str(expression)
    classified = [one.split(" :: ")[-1] for one in found.get_all("Classifier") or () if one.startswith("License ::")]
    for said in [found.get("License") or "", *classified, *_titles(package.name)]:
        if (spdx := _SPDX.get(said, said)) in _AS_THEY_SAY or (spdx and _is_spdx(spdx)):
            return spdx
    raise Unknown(f"{package.name} names no licence that is known: {found.get('License')!r:.60}, {classified}")


def _titles(name: str) -> list[str]:
    """Return the first lines of the licences that a package comes with, for one that names none otherwise."""
    files = [file for file in distribution(name).files or () if file.parent.name == "licenses"]
    return [file.read_text().strip().splitlines()[0].strip() for file in files]


def _is_spdx(text: str) -> bool:
    made = LicenseFactory().make_from_string(text)
    return isinstance(made, LicenseExpression) or getattr(made, "id", None) is not None


def document(lock: str = "runtime") -> str:
    """Return the bill of materials of a lock as JSON; raises Unknown."""
    licences = LicenseFactory()
    bom = Bom()
    bom.metadata.component = Component(
        name="xinhuo", version=__version__, type=ComponentType.APPLICATION, bom_ref="xinhuo",
        licenses=[licences.make_from_string("Apache-2.0")],
    )  # fmt: skip
    for package in locks.read(lock):
        purl = PackageURL("pypi", None, package.name, package.version)
        bom.components.add(
            Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                bom_ref=str(purl),
                purl=purl,
                licenses=[licences.make_from_string(licence_of(package))],
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in package.hashes],
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library writes down when, and a number of its own, each time.
    made.pop("serialNumber", None)
    made["metadata"].pop("timestamp", None)
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(document())
    except Unknown as unknown:
        sys.exit(f"sbom: {unknown}")
