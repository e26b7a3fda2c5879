"""The quality report: what it collects of a release, sound or not; that its page is whole, escaped and not large."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from isles_assets.graph.commands import render
from isles_assets.lib.findings import Refusal
from isles_assets.products.building import read_sidecars
from isles_assets.products.dataset import Dataset
from isles_assets.products.preview.montage import MAX_BYTES as MAX_MONTAGE_BYTES
from isles_assets.products.preview.pictures import SIZE
from isles_assets.publication.evidence import Evidence
from isles_assets.release.release import Release
from isles_assets.report.charts import HEIGHT, WIDTH, bars, ticks
from isles_assets.report.collecting import NO_FAILURES, Failures, collect
from isles_assets.report.pictures import data_urls
from isles_assets.report.rendering import MAX_PAGE_BYTES, render_page
from isles_assets.report.report import MissingProduct, Report, Status, SubjectReport
from isles_assets.report.statistics import histogram, outliers, quartiles_of, rare
from isles_assets.tables.clinical import read_clinical_findings
from isles_assets.tables.storage import read_table, write_table
from isles_assets_tests.isles24 import ISLES24, SMALL
from isles_assets_tests.project import Project
from isles_assets_tests.project import replace as replaced
from isles_assets_tests.toy import SHARD, T1, TOY

EVIL = "holds '<img src=x onerror=alert(1)></script><script>alert(2)</script>\u202e'"
FIRST, SECOND, THIRD = TOY.subjects[:3]


def collected(project: Project, release: Release | None = None, failures: Failures = NO_FAILURES) -> Report:
    """Return the report on a project as its asset makes it."""
    release = release or project.release
    folder = replace(project.folder, release=release)
    evidence = Evidence(project.setup.tree, folder)
    return collect(Dataset.of(release), evidence, project.setup.repo, failures=failures, render=render)


def subject_in(report: Report, name: str) -> SubjectReport:
    (subject,) = (subject for subject in report.subjects if subject.subject == name)
    return subject


def add_clinical_finding(project: Project, **finding: str) -> None:
    path = project.folder.clinical_findings
    table = read_table(path, "clinical_table")
    records = [dict.fromkeys(table.schema.names, "") | finding]
    write_table(path, pa.concat_tables([table, pa.Table.from_pylist(records, table.schema)]).replace_schema_metadata())
    assert len(read_clinical_findings(project.folder)) == table.num_rows + 1


class Page(HTMLParser):
    """Elements of a page, and the text of those with an id."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.elements or self.elements[-1][0] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_sound_release_has_nothing_that_stops(toy_built):
    report = collected(toy_built)
    assert report.may_be_published
    assert report.product_counts == [("shards", len(TOY.subjects))]
    assert (report.stopping, report.missing_products) == (0, 0)
    assert sorted(each.subject for each in report.subjects) == list(TOY.subjects)
    assert not report.with_status(Status.STOPS, Status.MISSING)
    assert report.synthetic


def test_measures_follow_from_the_release_and_are_those_of_manifest_and_shards(toy_built):
    report = collected(toy_built)
    assert [measure.key for measure in report.measures] == [
        "tumour_mask_ml", "t1_least_mm", "t1_most_mm", "perfusion_least_mm", "perfusion_most_mm", "perfusion_frames",
        "age", "score",
    ]  # fmt: skip
    evidence = Evidence(toy_built.setup.tree, toy_built.folder)
    for sidecar in read_sidecars(SHARD, toy_built.folder):
        subject, row = subject_in(report, sidecar.subject), evidence.manifest[sidecar.subject]
        voxels = sidecar.sources["tumour_mask"].voxels
        assert subject.values["tumour_mask_ml"] == pytest.approx(voxels.marked_ml, rel=1e-4)
        assert subject.values["t1_least_mm"] == pytest.approx(min(row.entry("t1").spacing), rel=1e-4)
        assert subject.values["perfusion_frames"] == row.entry("perfusion").frames
        assert subject.missing_values == sum(value is None for value in row.clinical.values())
    (ages,) = (each for each in report.distributions if each.measure.key == "age")
    assert sum(bar.count for bar in ages.bins) == ages.present
    assert ages.present + ages.missing == len(TOY.subjects)


def test_what_stops_stands_first_then_what_is_missing(toy_built_copy):
    SHARD.sidecar_path(toy_built_copy.folder, THIRD).unlink()
    add_clinical_finding(
        toy_built_copy, subject=SECOND, path="x.xlsx", code="cell-unreadable", problem=EVIL, mend="look", found="c"
    )
    report = collected(toy_built_copy, failures={(SHARD.asset, THIRD): "x.nii.gz is cut short"})
    assert [each.subject for each in report.subjects[:2]] == [SECOND, THIRD]
    assert [each.status for each in report.subjects[:2]] == [Status.STOPS, Status.MISSING]
    mend = f"dagster asset materialize --select subject_shard --partition {THIRD}"
    assert subject_in(report, THIRD).missing_products == [
        MissingProduct("has no shard yet", mend, "x.nii.gz is cut short")
    ]
    page = render_page(report)
    assert "has no shard yet: x.nii.gz is cut short" in page and f"<small>{mend}</small>" in page
    assert subject_in(report, THIRD).values["tumour_mask_ml"] is None
    assert subject_in(report, THIRD).values["t1_least_mm"] > 0
    assert not report.may_be_published and (report.stopping, report.missing_products) == (1, 1)
    assert f"subject: {SECOND}" in report.how_to_waive


def test_waivers_are_listed_with_reason_and_number_of_findings(toy_built_copy):
    add_clinical_finding(
        toy_built_copy, subject=SECOND, path="x.xlsx", code="cell-unreadable", problem="odd", mend="look", found="c1"
    )
    toy_built_copy.folder.waivers.write_text(
        f"- {{release: v2, property: readable_workbooks, subject: {SECOND}, path: x.xlsx, found: c1, reason: seen}}\n"
        "- {release: v2, property: mask_labels, found: labels 2, reason: in vain}\n"
    )
    report = collected(toy_built_copy)
    assert [(line.waiver.reason, line.covers, line.of_release) for line in report.waivers] == [
        ("seen", 1, False),
        ("in vain", 0, False),
    ]
    assert [(finding.level, finding.reason) for finding in subject_in(report, SECOND).findings] == [("waived", "seen")]
    assert any("covers nothing" in finding.problem for finding in report.findings)
    assert report.may_be_published


def test_a_subject_that_is_in_no_table_is_listed_as_missing(toy_built_copy):
    more = replace(TOY, subjects=(*TOY.subjects, "sub-a99"))
    subject = subject_in(collected(toy_built_copy, release=more), "sub-a99")
    assert subject.missing_products == [MissingProduct("is not in the manifest", "see the checks of subject_manifest")]
    assert set(subject.values.values()) == {None}
    assert dict(subject.grids)["t1"] == "is missing"
    assert render_page(collected(toy_built_copy, release=more))


def test_without_a_manifest_there_is_no_report(toy_built_copy):
    toy_built_copy.folder.manifest.unlink()
    with pytest.raises(Refusal, match="subject_manifest"):
        collected(toy_built_copy)


def test_a_finding_without_a_subject_is_listed_with_the_subject_of_its_path(toy_built_copy):
    add_clinical_finding(
        toy_built_copy, path=f"rawdata/{THIRD}/odd.nii", code="cell-unreadable", problem="odd", mend="look", found="c"
    )
    assert [finding.problem for finding in subject_in(collected(toy_built_copy), THIRD).findings] == ["odd"]


def test_missing_values_are_counted_by_variable_and_centre(small_built):
    report = collected(small_built)
    names = dict(report.groups)
    assert names["all"] == len(SMALL.subjects) == sum(names.values()) / 2
    clinical = Evidence(small_built.setup.tree, small_built.folder).clinical
    for line in report.missing_values:
        (missing, of), *others = line.counts
        assert (missing, of) == (clinical.column(line.column).null_count, len(SMALL.subjects))
        assert missing == sum(number for number, _ in others)


def test_text_from_files_is_shown_and_never_part_of_the_page(toy_built_copy):
    add_clinical_finding(
        toy_built_copy, subject=SECOND, path="<b>.xlsx", code="cell-unreadable", problem=EVIL, mend="<i>", found="c"
    )
    html = render_page(collected(toy_built_copy))
    page = Page(html)
    assert EVIL.replace("\u202e", "\\u202e") in page.text and "<b>.xlsx" in page.text
    assert len(page.all("script")) == 1 and not page.all("i")
    assert not [attributes for attributes in page.all("img") if attributes["src"] == "x"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_page_names_no_other_file_or_server_and_its_policy_allows_none(small_built):
    html = render_page(collected(small_built))
    page = Page(html)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "data")
    ]
    assert addresses and all(address.startswith(("data:image/", "#")) for address in addresses)
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|url\()", html.partition("<script>")[2])


def test_every_subject_has_its_picture_and_the_same_report_gives_the_same_page(small_built):
    html = render_page(collected(small_built))
    assert len(Page(html).all("img")) == len(SMALL.subjects)
    assert html == render_page(collected(small_built), workers=2)


def test_a_release_without_pictures_has_a_page(toy_built):
    page = Page(render_page(collected(toy_built)))
    assert not page.all("img")
    assert {a["id"] for a in page.all("article")} == set(TOY.subjects)


def noise(number: int) -> bytes:
    """A montage of pictures of noise, as large as one can be."""
    width, height = SIZE
    voxels = np.random.default_rng(number).integers(0, 256, (2 * height + 28, 4 * width, 3), np.uint8)
    for quality in range(90, 0, -5):
        content = io.BytesIO()
        Image.fromarray(voxels).save(content, "JPEG", quality=quality, subsampling=0)
        if content.tell() <= MAX_MONTAGE_BYTES:
            break
    return content.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("number", [6, len(ISLES24.subjects)])
def test_pictures_of_noise_fit_into_the_page_at_release_scale(small_built, number):
    """As many subjects as the release has, with as many findings as are listed, and pictures that compress worst.

    Or fewer, and as large a part of the room.
    """
    largest = MAX_PAGE_BYTES * number // len(ISLES24.subjects)
    report, picture = collected(small_built), noise(1)
    one = max(report.subjects, key=lambda each: len(each.findings))
    findings = list(one.findings) or [subject.findings[0] for subject in report.subjects if subject.findings]
    many = [
        replace(one, subject=subject, picture=picture, findings=[findings[0]] * 30, more_findings=5)
        for subject in ISLES24.subjects[:number]
    ]
    html = render_page(replace(report, subjects=many), workers=2, max_bytes=largest)
    assert largest * 0.5 < len(html.encode()) <= largest and MAX_PAGE_BYTES < 15_000_000
    sizes = {Image.open(io.BytesIO(base64.b64decode(a["src"].partition(",")[2]))).size for a in Page(html).all("img")}
    assert all(width >= 480 for width, _ in sizes), sizes


def test_pictures_that_fit_are_left_as_they_are():
    pictures = {"a": noise(1), "b": b"small"}
    whole = data_urls(pictures, 1_000_000)
    assert base64.b64decode(whole["a"].partition(",")[2]) == pictures["a"]
    smaller = data_urls(pictures, 60_000)
    assert smaller["b"] == whole["b"] and len(smaller["a"]) <= 30_000
    assert data_urls({}, 0) == {}


def test_outliers_are_far_from_the_middle_half():
    values = {f"s{number}": float(number) for number in range(20)}
    assert outliers(values) == {}
    found = outliers(values | {"high": 200.0, "low": -200.0})
    assert set(found) == {"high", "low"}
    assert "above" in found["high"].why and "below" in found["low"].why
    assert outliers({"a": 1.0, "b": 1000.0}) == {}, "two values say nothing"


def test_where_most_have_one_value_a_rare_other_one_is_an_outlier():
    same = {f"s{number}": 1.0 for number in range(30)}
    assert set(outliers(same | {"other": 1.5})) == {"other"}
    assert outliers(same | {f"o{number}": 1.5 for number in range(5)}) == {}


def test_what_few_subjects_have_is_rare():
    assert set(rare(["a"], 30)) == {"a"}
    assert rare(["a", "b", "c"], 30) == {}
    assert rare(["a"], 3) == {}


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0], [0.0, 6.0, 3.0], [0.5, 100.25, 3.75, 9.0, 60.0]])
def test_a_histogram_counts_every_value_once_and_its_bars_stand_in_the_area(values):
    bins = histogram(values)
    assert sorted(value for each in bins for value in each.values) == sorted(values)
    assert all(each.start <= value <= each.end for each in bins for value in each.values)
    drawn = bars(bins)
    assert max(bar.height for bar in drawn) == HEIGHT
    assert all(0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.1 and bar.y + bar.height == HEIGHT for bar in drawn)
    assert ticks(bins)


def test_of_no_value_nothing_is_drawn():
    assert (histogram([]), bars([]), ticks([]), quartiles_of([])) == ([], [], [], None)


def test_a_run_in_which_a_shard_fails_still_makes_the_report(toy_unbuilt, toy_tree):
    path = toy_tree / T1.path(SECOND)
    replaced(path, path.read_bytes()[: path.stat().st_size // 2])
    assert not toy_unbuilt.build().success
    page = Page(toy_unbuilt.folder.report.read_text())
    assert f"{len(TOY.subjects) - 1} of {len(TOY.subjects)}" in page.text
    (card,) = (attributes for attributes in page.all("article") if attributes["id"] == SECOND)
    assert "missing" in (card["data-has"] or "")
    assert re.search(r"has no shard yet: \S+_T1w\.nii\.gz is cut short", page.text)
    assert f"dagster asset materialize --select subject_shard --partition {SECOND}" in page.text


def test_the_job_makes_the_report_before_it_publishes_and_the_publication_names_it(toy_built):
    (record,) = toy_built.instance.fetch_materializations(dg.AssetKey("hub_dataset"), limit=1).records
    assert record.asset_materialization.metadata["report"].path == str(toy_built.folder.report)
    (made,) = toy_built.instance.fetch_materializations(dg.AssetKey("quality_report"), limit=1).records
    assert made.storage_id < record.storage_id
    metadata = {name: value.value for name, value in made.asset_materialization.metadata.items()}
    assert metadata["report"] == str(toy_built.folder.report)
    assert (metadata["findings that stop publication"], metadata["missing or stale"]) == (0, 0)
    log = [entry.user_message for entry in toy_built.instance.all_logs(made.event_log_entry.run_id)]
    assert f"The report: {toy_built.folder.report}" in log
    assert metadata["bytes"] == toy_built.folder.report.stat().st_size
    assert toy_built.folder.report.read_text() == render_page(collected(toy_built))
