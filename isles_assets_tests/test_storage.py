"""Tables of the data folder: the same bytes for the same content, and none of them believed if it is another."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.tables.storage import read_table, write_table

TABLE = pa.table({"subject_id": ["sub-a01", "sub-a02"], "age": [71.5, None]}).replace_schema_metadata({"by": "me"})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tables" / "some.parquet"
    write_table(path, TABLE)
    return path


def test_what_is_written_is_read_and_plain_parquet(path):
    assert read_table(path, "some", TABLE.schema).equals(TABLE)
    assert read_table(path, "some").schema.metadata[b"by"] == b"me"
    assert pq.read_table(path).equals(TABLE)


def test_the_same_content_gives_the_same_bytes(path):
    before = path.read_bytes()
    write_table(path, read_table(path, "some"))
    assert path.read_bytes() == before


def test_no_bit_can_be_another_and_be_believed(path):
    right = path.read_bytes()
    for bit in range(8 * len(right)):
        content = bytearray(right)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(Refusal) as caught:
            read_table(path, "some", TABLE.schema)
        (finding,) = caught.value.findings
        assert finding.path == str(path) and "is damaged" in finding.problem
        assert finding.mend == Materialize(("some",))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1"])
def test_what_is_no_table_is_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(Refusal, match="is damaged"):
        read_table(path, "some", TABLE.schema)


def test_a_table_that_is_cut_off_or_has_more_at_its_end_is_damaged(path):
    right = path.read_bytes()
    for content in (right[:-1], right[: len(right) // 2], right + b"\0", right + right):
        path.write_bytes(content)
        with pytest.raises(Refusal, match="is damaged"):
            read_table(path, "some", TABLE.schema)
