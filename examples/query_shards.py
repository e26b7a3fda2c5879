"""Ask the shards by Polars and by DuckDB for clinical values and for the sizes of volumes; no volume travels.

python examples/query_shards.py
"""

import argparse
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
from huggingface_hub import HfFileSystem

REPO = "hugging-science/isles24-stroke"
SHARDS = "data/train/*.parquet"


def clinical(repo: str) -> pl.LazyFrame:
    """All columns of all subjects, of which Polars reads those that a query names.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    if Path(repo).is_dir():
        return pl.scan_parquet(f"{repo}/{SHARDS}")
    hub = HfFileSystem()
    return pl.scan_pyarrow_dataset(ds.dataset(hub.glob(f"datasets/{repo}/{SHARDS}"), filesystem=hub))


def sizes(repo: str) -> list[tuple[str, int, int, int]]:
    """Of each column with volumes its name, the number of volumes, and their median and greatest size in bytes.

    They are in the footers of the shards, where a chunk is some 50 bytes larger than its volume.
    """
    shards = f"{repo}/{SHARDS}"
    if not Path(repo).is_dir():
        duckdb.register_filesystem(HfFileSystem())
        shards = f"hf://datasets/{shards}"
    query = """
        select split_part(path_in_schema, ',', 1) as volume, count(*),
            cast(median(total_compressed_size) as bigint) as size, max(total_compressed_size)
        from parquet_metadata($shards) where path_in_schema like '%, bytes' and total_compressed_size > 100
        group by volume order by size desc, volume
    """
    return duckdb.execute(query, {"shards": shards}).fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    given = parser.parse_args()
    by_sex = clinical(given.repo).group_by("sex").agg(pl.len(), pl.median("nihss_admission")).sort("sex").collect()
    for sex, subjects, nihss in by_sex.iter_rows():
        print(f"{sex}: {subjects} subjects, median NIHSS {nihss}")
    for volume, number, median, most in sizes(given.repo):
        print(f"{volume:12} {number:3} volumes, median {median:11,} bytes, at most {most:13,}")


if __name__ == "__main__":
    main()
