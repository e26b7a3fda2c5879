"""A release that is nothing like ISLES'24, which goes through the whole graph without a line of the package changed.

Other ids, sessions, folders and archive, three volumes, one workbook, no dictionary and no previews. Small, so that a
whole graph takes a second.
"""

from pathlib import Path

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.products.dataset import Dataset
from isles_assets.release.clinical import Kind, Known, Variable, Workbook
from isles_assets.release.oddities import Oddity, Trait
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.release.zenodo_record import Citation, ZenodoRecord
from isles_assets.tables.folder import DataFolder

T1 = Volume("t1", "rawdata", "ses-1", "anat", "T1w", Grid.COMMON, Content.MRI, "T1-weighted MRI; its grid is common")
MASK = Volume(
    "tumour_mask", "derivatives", "ses-1", "", "space-T1w_label-tumour_mask", Grid.COMMON, Content.MASK, "Tumour"
)
PERFUSION = Volume(
    "perfusion", "rawdata", "ses-2", "perf", "asl", Grid.NATIVE, Content.CT_SERIES, "A perfusion series as acquired",
    apart="the perfusion series, apart because it is large",
)  # fmt: skip

CLINIC = Workbook("ses-1", "clinic", may_be_blank=False, top="tables")

AGE = Variable(CLINIC, "Age", None, "age", Kind.NUMBER, "years", Known.ADMISSION, "Age", low=0, high=120)
HAND = Variable(CLINIC, "Hand", None, "hand", Kind.LEVEL, None, Known.ADMISSION, "Hand", levels=("left", "right"))
SCORE = Variable(
    CLINIC, "Score", None, "score", Kind.WHOLE, None, Known.OUTCOME, "Score after a year", levels=tuple(range(11))
)

TOY = Release(
    name="toy",
    label="Toy",
    about="subjects with a tumour: MRI and a perfusion series",
    repo="toys/toy",
    subjects=("sub-a01", "sub-a02", "sub-a03", "sub-a05", "sub-a08", "sub-a13"),
    volumes=(T1, MASK, PERFUSION),
    workbooks=(CLINIC,),
    variables=(AGE, HAND, SCORE),
    dictionary=None,
    record=ZenodoRecord(
        title="Toy - A Release for Tests",
        version="v2",
        record="1234567",
        concept="1234566",
        archive="toys.7z",
        size=1,
        md5="0" * 32,
        license_id="cc-by-4.0",
        license_name="CC BY 4.0",
        license_url="https://creativecommons.org/licenses/by/4.0/",
        license_terms="attribution",
    ),
    examples=("t1", "tumour_mask"),
    first_look=("age", "score"),
    oddities=(Oddity(Trait.REPEATED_ROWS, ("sub-a05",), "The workbook holds the same row twice."),),
    citations=(Citation("toy", "the toys", "@misc{toy, title = {Toys}}"),),
    tags=("toy",),
)

DATASET = Dataset.of(TOY)
(SHARD,) = DATASET.products
CONFIGS = SHARD.configs

defs = build_defs(TOY, Settings())
"""The code location that `dagster -m isles_assets_tests.toy` loads."""


def folder_at(root: Path) -> DataFolder:
    """The data folder of the toy release at `root`."""
    return DataFolder(root, TOY)
