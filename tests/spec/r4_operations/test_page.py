"""docs/validation.md: its commands, run in a shell against a running server, answer what stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server

PAGE = Path(__file__).parents[3] / "docs" / "validation.md"
EXAMPLES = re.findall(r"```sh\n(curl .*?)```\n.*?```json\n(.*?)```", PAGE.read_text(), re.DOTALL)


def holds(answer: Any, shown: Any) -> bool:
    """Say whether an answer has everything that is shown; of a list, the items shown, in any place."""
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(
            holds(answer.get(name), value) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(answer, list) and all(any(holds(item, one) for item in answer) for one in shown)
    return bool(answer == shown)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[str(number) for number in range(len(EXAMPLES))])
def test_the_commands_of_the_page(running: Server, command: str, shown: str) -> None:
    here = command.replace("http://127.0.0.1:8080", running.url)
    assert here != command
    done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=60, check=True)
    assert holds(json.loads(done.stdout), json.loads(shown)), done.stdout


def test_the_page_has_commands() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("```sh") >= 3
