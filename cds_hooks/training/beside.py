"""The distribution that a release was trained on, beside a release whose card was published without it.

A release is never changed. What its card lacks is made again from the same data, and only if these give the
very same model: then seed, recipe and data are those of the release, and the distribution is its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from cds_hooks.models.catalogue import Release
from cds_hooks.models.envelope import digest
from cds_hooks.training.fit import PARAMETERS
from cds_hooks.training.pipeline import Study, TrainingRefused


def reference(release: Release, found: Study) -> Path:
    """Write the reference of a release into a file beside its folder; return the path.

    Raises TrainingRefused when the study came to another model.
    """
    if found.sha256 != release.sha256:
        raise TrainingRefused(
            f"the study gives the model {found.sha256[:12]}, not that of {release.identity}: other data,"
            " another seed or another library"
        )
    document = found.reference | {
        "made_for": release.identity,
        "model_sha256": release.sha256,
        "data_sha256": release.card["data"]["sha256"],
        "schema_sha256": release.card["schema_sha256"],
        "seed": PARAMETERS["seed"],
        "notice": release.card["data"].get("notice"),
    }
    document["sha256"] = digest(document)
    path = release.folder.with_name(f"{release.folder.name}.reference.json")
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path
