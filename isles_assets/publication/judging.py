"""The judgement on the whole release: what stops publication, what is waived, what is noted; and on one shard."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from isles_assets.lib.findings import Finding, found
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import Property, properties_of, volumes
from isles_assets.publication.waivers import Judgement, judge, unused
from isles_assets.release.problems import Problem

_OF_SHARDS = "subject_shard"
_BEFORE_SHARDS = ("clinical_table", "subject_manifest")


def stopping(evidence: Evidence) -> list[Finding]:
    """What stops publication, by any property; one whose evidence cannot be read does not hold."""
    return list(judge(evidence.release, _find(properties_of(evidence.release), evidence), evidence.waivers).stopping)


def judge_all(evidence: Evidence) -> Judgement:
    """The judgement on all that was found, by any property; with a note for each waiver that covers nothing."""
    findings = _find(properties_of(evidence.release), evidence)
    judgement = judge(evidence.release, findings, evidence.waivers)
    idle = unused(evidence.release, [*findings, *_undecoded(evidence.shards)], evidence.waivers)
    return replace(judgement, notes=(*judgement.notes, *idle))


def judge_recorded(evidence: Evidence) -> Judgement:
    """The judgement on what is published and recorded, for the card: the tree is not looked at."""
    told = [prop for prop in properties_of(evidence.release) if prop.on_card]
    return judge(evidence.release, _find(told, evidence), evidence.waivers)


def notes_of(asset: str, evidence: Evidence) -> list[Finding]:
    """The notes of all properties of `asset`, and a note for each waiver of them that covers nothing.

    Raises `Refusal` where the evidence cannot be read.
    """
    props = [prop for prop in properties_of(evidence.release) if prop.asset == asset]
    findings = [finding for prop in props for finding in prop.find(evidence)]
    names = {prop.name for prop in props}
    waivers = [waiver for waiver in evidence.waivers if waiver.property in names]
    at_hub = _undecoded(evidence.shards) if asset == _OF_SHARDS else []
    idle = unused(evidence.release, [*findings, *at_hub], waivers)
    return [*judge(evidence.release, findings, waivers).notes, *idle]


def undecoded(evidence: Evidence, shards: Iterable[Sidecar]) -> list[Finding]:
    """Why those of `shards` that were packed without decoding may not go to the Hub; none for those that are waived."""
    return list(judge(evidence.release, _undecoded(shards), evidence.waivers).stopping)


def _undecoded(shards: Iterable[Sidecar]) -> list[Finding]:
    problem, mend = "was packed without decoding its volumes", "materialize subject_shard of it without `decode: false`"
    found = [Problem.NOT_DECODED_FOR_HUB.finding(problem, mend, subject=s.subject) for s in shards if not s.decoded]
    return [replace(finding, property=volumes.volumes_decoded.__name__) for finding in found]


class SubjectJudge:
    """Judges subjects: by what was found before their shards are made, and by what a shard's sidecar says."""

    def __init__(self, evidence: Evidence):
        props = properties_of(evidence.release)
        self._evidence = evidence
        self._of_shards = [prop for prop in props if prop.asset == _OF_SHARDS]
        before = [prop for prop in props if prop.asset in _BEFORE_SHARDS]
        self._stopping = judge(evidence.release, _find(before, evidence), evidence.waivers).stopping

    def damaged_workbooks(self, subject: str) -> list[Finding]:
        """Why nothing may be made of `subject`: its clinical values are null because a workbook is damaged."""
        return [f for f in self._stopping if f.subject == subject and f.code == Problem.WORKBOOK_DAMAGED.code]

    def stopping(self, sidecar: Sidecar) -> list[Finding]:
        """What stops the publication of the shard that `sidecar` is of."""
        evidence = self._evidence.of_shard(sidecar)
        own = [finding for prop in self._of_shards for finding in prop.find(evidence)]
        before = [finding for finding in self._stopping if finding.subject == sidecar.subject]
        return [*before, *judge(evidence.release, own, self._evidence.waivers).stopping]

    def stopping_at_hub(self, sidecar: Sidecar) -> list[Finding]:
        """What stops the shard that `sidecar` is of from going to the Hub."""
        return [*self.stopping(sidecar), *undecoded(self._evidence, [sidecar])]

    @property
    def of_no_subject(self) -> list[Finding]:
        """What stops publication and is of no subject alone, such as one finding of many volumes."""
        return [finding for finding in self._stopping if not finding.subject]


def _find(props: Iterable[Property], evidence: Evidence) -> Sequence[Finding]:
    return [finding for prop in props for finding in found(partial(prop.find, evidence))]
