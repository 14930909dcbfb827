"""Text that people read is plain English: phrases that are hard to understand are rejected.

Single words are rejected by codespell in ``make lint``, with the list in ``.ci/words.txt``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each phrase, and what to write instead.
PHRASES = {
    r"(?<!here )\bis none\b": "has no …, is missing",
    r"(?<!here )\bis no (?!longer\b|more\b)": "is not a",
    r"\bto be had\b": "available",
    r"\bfor want of\b": "because there is no",
    r"\bat the door\b": "before",
    r"\bcomes? back\b": "is returned",
    r"\blets? go\b": "releases",
    r"\bhas no use for\b": "ignores",
    r"\bis an error\b": "raises an error",
    r"(?<!calls a )(?<!calls a\n)\bdense chain\b": "hidden layers, MLP head",
    r"\bwhat stands\b": "what is written",
    r"\bat the most\b": "at most",
}


def _texts() -> list[Path]:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.rst")]
    files += (ROOT / "docs" / "user_guide").glob("*.md")
    for folder in ("src", "examples"):
        files += (ROOT / folder).rglob("*.py")
    return sorted(files)


def _findings(text: str) -> list[str]:
    """Return the phrases in a text, each with its line and a better wording."""
    findings = []
    for phrase, better in PHRASES.items():
        for match in re.finditer(phrase, text):
            line = text.count("\n", 0, match.start()) + 1
            findings.append(f"line {line}: {match.group()!r}; write: {better}")
    return findings


@pytest.mark.parametrize("path", _texts(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_has_no_phrase_that_is_hard_to_understand(path):
    findings = _findings(path.read_text(encoding="utf-8"))
    assert not findings, "\n".join(findings)


def test_phrases_are_found():
    text = "The result is none.\nThis is no medical device, as the paper's dense chain."
    assert [finding.split(":")[0] for finding in _findings(text)] == ["line 1", "line 2", "line 2"]
    assert not _findings("There is no image. The rest is no longer used. If value is None: pass")
