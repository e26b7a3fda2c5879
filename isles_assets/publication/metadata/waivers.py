"""`metadata/waivers.csv`: what is unlike what is expected and is published all the same, and who took responsibility.

It names the kind of each problem. It holds no text of the release's cells or headers.
"""

from collections import Counter
from collections.abc import Iterable

from isles_assets.lib.csv_text import csv_text
from isles_assets.lib.findings import Finding
from isles_assets.release.problems import problem_of
from isles_assets.release.release import Release
from isles_assets.release.waivers import Waiver

HEADER = ("property", "subject_id", "path", "problem", "number", "reason", "by")


def waivers_csv(release: Release, waived: Iterable[tuple[Finding, Waiver]]) -> str:
    """Return a line for each waiver and kind of problem, with the number of findings that it covers.

    A waiver of many findings has no subject and path. `by` is `release` for a waiver that this project knows of the
    release, and `operator` for one of those who published it.
    """
    numbers = Counter((finding.property, problem_of(finding.code).meaning, waiver) for finding, waiver in waived)
    rows = [
        (prop, waiver.subject, waiver.path, problem, number, waiver.reason, _by(release, waiver))
        for (prop, problem, waiver), number in numbers.items()
    ]
    return csv_text([HEADER, *sorted(rows)])


def _by(release: Release, waiver: Waiver) -> str:
    return "release" if waiver in release.waivers else "operator"
