"""One partition a subject, and how many of them one run of a backfill takes.

Static, because the 149 ids are facts of the release, not of a folder.
"""

import os

import dagster as dg

from isles_assets.release.subjects import SUBJECT_IDS

subjects = dg.StaticPartitionsDefinition(SUBJECT_IDS)


def partitions_per_run() -> dg.BackfillPolicy:
    """All partitions of a backfill in one run, or `ISLES_PARTITIONS_PER_RUN` of them in each of several."""
    number = os.environ.get("ISLES_PARTITIONS_PER_RUN")
    if not number:
        return dg.BackfillPolicy.single_run()
    if not number.isdecimal() or int(number) == 0:
        raise ValueError(f"ISLES_PARTITIONS_PER_RUN is {number!r}; set it to a whole number from 1, or unset it")
    return dg.BackfillPolicy.multi_run(int(number))
