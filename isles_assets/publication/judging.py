"""The judgement on the whole release, and on one shard: what stops publication, what is waived, what is noted."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from isles_assets.lib.findings import Finding, findings_of
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import Property, properties_of, volumes
from isles_assets.publication.waivers import Judgement, judge, unused
from isles_assets.release.problems import Problem

_OF_SHARDS = "subject_shard"
_BEFORE_SHARDS = ("clinical_table", "subject_manifest")


def stopping(evidence: Evidence) -> list[Finding]:
    """Return the findings of all properties that stop publication. Evidence that cannot be read is such a finding."""
    return list(judge(evidence.release, _find(properties_of(evidence.release), evidence), evidence.waivers).stopping)


def judge_all(evidence: Evidence) -> Judgement:
    """Return the judgement on the findings of all properties, with a note for each waiver that covers none of them."""
    findings = _find(properties_of(evidence.release), evidence)
    judgement = judge(evidence.release, findings, evidence.waivers)
    idle = unused(evidence.release, [*findings, *_undecoded(evidence.shards)], evidence.waivers)
    return replace(judgement, notes=(*judgement.notes, *idle))


def judge_recorded(evidence: Evidence) -> Judgement:
    """Return the judgement for the card: on the tables and sidecars, without looking at the tree."""
    told = [prop for prop in properties_of(evidence.release) if prop.on_card]
    recorded = replace(evidence, root=Path(), fresh_tree=False)  # so that `verify`, without a tree, judges alike
    return judge(evidence.release, _find(told, recorded), evidence.waivers)


def notes_of(asset: str, evidence: Evidence) -> list[Finding]:
    """Return the notes of all properties of `asset`, and a note for each of their waivers that covers no finding.

    Raises:
        Refusal: The evidence cannot be read.
    """
    props = [prop for prop in properties_of(evidence.release) if prop.asset == asset]
    findings = [finding for prop in props for finding in prop.find(evidence)]
    names = {prop.name for prop in props}
    waivers = [waiver for waiver in evidence.waivers if waiver.property in names]
    at_hub = _undecoded(evidence.shards) if asset == _OF_SHARDS else []
    idle = unused(evidence.release, [*findings, *at_hub], waivers)
    return [*judge(evidence.release, findings, waivers).notes, *idle]


def undecoded(evidence: Evidence, shards: Iterable[Sidecar]) -> list[Finding]:
    """Return a finding for each of `shards` that was packed without decoding, unless waived. The Hub gets none."""
    return list(judge(evidence.release, _undecoded(shards), evidence.waivers).stopping)


def _undecoded(shards: Iterable[Sidecar]) -> list[Finding]:
    problem, mend = "was packed without decoding its volumes", "materialize subject_shard of it without `decode: false`"
    found = [Problem.NOT_DECODED_FOR_HUB.finding(problem, mend, subject=s.subject) for s in shards if not s.decoded]
    return [replace(finding, property=volumes.volumes_decoded.__name__) for finding in found]


class SubjectJudge:
    """Judges single subjects, by the findings on the tables and by the sidecars of their shards."""

    def __init__(self, evidence: Evidence):
        props = properties_of(evidence.release)
        self._evidence = evidence
        self._of_shards = [prop for prop in props if prop.asset == _OF_SHARDS]
        before = [prop for prop in props if prop.asset in _BEFORE_SHARDS]
        self._stopping = judge(evidence.release, _find(before, evidence), evidence.waivers).stopping

    def damaged_workbooks(self, subject: str) -> list[Finding]:
        """Return the findings on damaged workbooks of `subject`, of which nothing may be made: its values are null."""
        return [f for f in self._stopping if f.subject == subject and f.code == Problem.WORKBOOK_DAMAGED.code]

    def stopping(self, sidecar: Sidecar) -> list[Finding]:
        """Return the findings that stop publication of the shard."""
        evidence = self._evidence.of_shard(sidecar)
        own = [finding for prop in self._of_shards for finding in prop.find(evidence)]
        before = [finding for finding in self._stopping if finding.subject == sidecar.subject]
        return [*before, *judge(evidence.release, own, self._evidence.waivers).stopping]

    def stopping_at_hub(self, sidecar: Sidecar) -> list[Finding]:
        """Return the findings that stop the shard from going to the Hub."""
        return [*self.stopping(sidecar), *undecoded(self._evidence, [sidecar])]

    @property
    def of_no_subject(self) -> list[Finding]:
        """The findings that stop publication and name no subject, such as one finding on many volumes."""
        return [finding for finding in self._stopping if not finding.subject]


def _find(props: Iterable[Property], evidence: Evidence) -> Sequence[Finding]:
    return [finding for prop in props for finding in findings_of(partial(prop.find, evidence))]
