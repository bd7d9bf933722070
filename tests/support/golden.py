"""Golden files: what an answer looks like, word for word, kept beside the tests.

`XINGLIN_GOLDEN=write python -m pytest …` writes them anew; the difference is then read in git.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "golden" / "cards"


def golden_card(name: str, card: dict[str, Any]) -> None:
    """Assert that a card is the one in the golden file; the hash and number of a model are left open."""
    text = json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    text = re.sub(r"@\d+#[0-9a-f]{12}", "@N#HASH", text)
    text = re.sub(r'"sha256": "[0-9a-f]{64}"', '"sha256": "HASH"', text)
    text = re.sub(r'"version": "\d+"', '"version": "N"', text)
    path = FOLDER / f"{name}.json"
    if os.environ.get("XINGLIN_GOLDEN") == "write":
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing; XINGLIN_GOLDEN=write makes it"
    assert text == path.read_text(encoding="utf-8")
