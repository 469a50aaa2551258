"""The validator of crates, run without a network."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

SCHEMA = "http://schema.org/"
BIOSCHEMAS = "https://bioschemas.org/"
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {
        name: f"{SCHEMA}{name}"
        for name in (
            "ComputerLanguage", "ControlAction", "CreateAction", "CreativeWork", "Dataset",
            "HowTo", "HowToStep", "Organization", "OrganizeAction", "PropertyValue",
            "SoftwareApplication", "SoftwareSourceCode", "about", "actionStatus",
            "additionalType", "author", "citation", "contentSize", "datePublished",
            "description", "encodingFormat", "exampleOfWork", "hasPart", "identifier",
            "instrument", "license", "mainEntity", "mentions", "name", "object", "position",
            "programmingLanguage", "result", "softwareRequirements", "softwareVersion", "step",
            "url", "value", "version", "workExample",
        )
    }
    | {
        "File": f"{SCHEMA}MediaObject",
        "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
        "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
        "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
        "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
        "conformsTo": "http://purl.org/dc/terms/conformsTo",
    },
    "https://w3id.org/ro/terms/workflow-run/context": {
        name: f"https://w3id.org/ro/terms/workflow-run#{name}"
        for name in (
            "ParameterConnection", "connection", "sha256", "sourceParameter", "targetParameter",
        )
    },
}  # fmt: skip
"""The terms that crates use of the contexts that they name; any other would be unknown."""


def fill_cache(cache: Path) -> None:
    """Put the contexts where the validator looks for them when it is offline."""
    import urllib3
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter
    from requests_cache import CachedSession

    class Shelf(HTTPAdapter):
        """Answers with the contexts instead of asking the network."""

        def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
            body = json.dumps({"@context": CONTEXTS[str(request.url)]}).encode()
            response = urllib3.HTTPResponse(
                io.BytesIO(body),
                {"Content-Type": "application/ld+json"},
                200,
                preload_content=False,
                request_url=request.url,
            )
            return self.build_response(request, response)

    with CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Shelf())
        for url in CONTEXTS:
            session.get(url).raise_for_status()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the validator says of a crate.

    Attributes:
        code: its exit status.
        profiles: the profiles that it checked.
        issues: number of issues by severity and message.
    """

    code: int
    profiles: set[str]
    issues: Counter[tuple[str, str]]


def validate(crate: Path, cache: Path, severity: str = "required") -> Verdict:
    """Run the validator in a process of its own: its libraries give warnings."""
    report = cache.with_name(f"{crate.name}-report.json")
    command = [
        str(Path(sys.executable).parent / "rocrate-validator"), "validate", str(crate),
        "--profile-identifier", "provenance-run-crate-0.5", "--requirement-severity", severity,
        "--offline", "--cache-path", str(cache), "--no-paging", "--verbose",
        "--output-format", "json", "--output-file", str(report),
    ]  # fmt: skip
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.is_file(), outcome.stdout + outcome.stderr
    content = json.loads(report.read_text(encoding="utf-8"))
    return Verdict(
        outcome.returncode,
        set(content["statistics"]["profiles"]),
        Counter((issue["severity"], issue["message"]) for issue in content["issues"]),
    )
