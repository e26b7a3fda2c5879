"""The raw numbers, kept as JSON: the report is rendered from them, without measuring again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, Sample


@dataclass
class Results:
    """Comparisons by area, all of one machine and one set of versions. `tiny`: of inputs that show nothing."""

    machine: dict[str, str]
    versions: dict[str, str]
    tiny: bool
    areas: dict[str, list[Comparison]] = field(default_factory=dict)

    def comparable(self, other: "Results") -> bool:
        """Whether numbers of `other` may stand beside these: a version that is new to them did not matter before."""
        known = {name: version for name, version in other.versions.items() if name in self.versions}
        return (self.machine, self.versions, self.tiny) == (other.machine, known, other.tiny)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        content = json.loads(path.read_text())
        areas = {name: list(map(_comparison, comparisons)) for name, comparisons in content.pop("areas").items()}
        return cls(areas=areas, **content)


def _comparison(content: dict[str, Any]) -> Comparison:
    samples = {name: [Sample(**sample) for sample in samples] for name, samples in content.pop("samples").items()}
    return Comparison(samples=samples, **content)
