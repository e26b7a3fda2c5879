"""Reading volumes that nibabel wrote: refusing every kind of damage, and noting whatever else is odd."""

import gzip
import hashlib
import random
import struct
import time
import zlib

import nibabel as nib
import numpy as np
import pytest

from isles_assets.reading import nifti
from isles_assets.reading.gunzip import Gunzip
from isles_assets.reading.nifti import MOST_LABELS, DigestingReader, NiftiError, read_header, voxel_ml
from isles_assets.release.volumes import Content
from isles_assets_tests.materials import inspect, volume, write_volume
from isles_assets_tests.processes import python

SHAPE = (4, 5, 6)
AFFINE = np.array([[-0.4, 0, 0, 90], [0, 0.39, -0.5, -70], [0, 0.1, 1.9, 12], [0, 0, 0, 1]])
COS, SIN = np.cos(0.3), np.sin(0.3)
TURNED = np.array([[0.4, 0, 0, 9], [0, 0.4 * COS, -2 * SIN, -7], [0, 0.4 * SIN, 2 * COS, 12], [0, 0, 0, 1]])
FAR_OFF = "which is impossible|ends before its data starts"
SLOPE_OF_2024 = 1.5259e-05
MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from isal import igzip
from isles_assets.release.volumes import Content
from isles_assets_tests.materials import inspect, volume, write_volume
path = Path(sys.argv[1])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
inspect(write_volume(path, volume(np.zeros((4, 5, 6), "f4"))), Content.MAP)
header = volume(np.zeros((1, 1, 1), "f4")).header
header.set_data_shape((512, 512, 110))
noise = np.random.default_rng(1).random(1 << 18, "f4").tobytes()
with igzip.open(path, "wb", compresslevel=0) as file:
    header.write_to(file)
    for _ in range(110):
        file.write(noise)
before = peak()
assert path.stat().st_size > 100e6
for content in (Content.MAP, Content.CT):
    inspect(path, content)
print((peak() - before) / 1024)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "volume.nii.gz"


def counting(dtype="<i2", shape=SHAPE):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def mask(*marked, dtype="u1"):
    """A mask that holds the values `marked` and is 0 elsewhere."""
    voxels = np.zeros(SHAPE, dtype)
    voxels.flat[: len(marked)] = marked
    return voxels


def uncompressed(voxels=None):
    return volume(counting() if voxels is None else voxels).to_bytes()


def write(path, content):
    path.write_bytes(content)
    return path


def changed(raw, *fields):
    """The header `raw` with each (field, index, value) set in it."""
    header = nib.Nifti1Header(raw[:348])
    for name, index, value in fields:
        header[name] = (
            value if index is None else np.concatenate([header[name][:index], [value], header[name][index + 1 :]])
        )
    return header.binaryblock + raw[348:]


def packed(path, raw):
    """A file of the uncompressed bytes `raw`."""
    return write(path, gzip.compress(raw, 1))


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 7), (*SHAPE, 1)], ids=["3D", "4D", "4D of one frame"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4", "<f8", "u1", "<u2", "<i4"])
def test_header_is_what_nibabel_wrote(path, dtype, shape):
    image = volume(counting(dtype, shape), AFFINE, endianness=">" if dtype[0] == ">" else "<")
    header = read_header(write_volume(path, image))
    assert header.shape == shape
    assert header.frames == (shape[3] if len(shape) > 3 else 1)
    assert np.dtype(header.dtype) == np.dtype(dtype)
    assert np.dtype(header.dtype).str[0] == np.dtype(dtype).str[0]
    loaded = nib.load(path)
    assert header.affine == tuple(loaded.affine.ravel())
    assert header.pixdim == tuple(map(float, loaded.header.get_zooms()[:3]))
    assert header.spacing == pytest.approx(header.pixdim, rel=1e-6)
    assert (header.transform, header.qform_mm, header.gzip_name) == (None, None, None)
    assert (header.slope, header.intercept, header.text) == (1, 0, ())
    assert inspect(path, Content.CT).header == header


def test_file_saved_by_nibabel_itself_is_read(path):
    nib.save(nib.Nifti1Image(counting("<f4"), AFFINE), path)
    assert inspect(path, Content.MAP).header.shape == SHAPE


def test_slope_and_intercept_are_read(path):
    header = read_header(write_volume(path, volume(counting(), scl_slope=0.5, scl_inter=-1024)))
    assert (header.slope, header.intercept) == (0.5, -1024)


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (2, 1), (0, 0)])
def test_codes_and_the_affine_that_holds_are_read(path, qform, sform):
    image = volume(counting())
    image.set_qform(AFFINE if qform else None, qform)
    image.set_sform(AFFINE if sform else None, sform)
    header = read_header(write_volume(path, image))
    assert (header.qform_code, header.sform_code) == (qform, sform)
    assert header.affine == tuple(nib.load(path).affine.ravel())
    if sform:
        assert header.affine == pytest.approx(AFFINE.ravel())


@pytest.mark.parametrize("stale", [(1, 1, 1), (0.4, 5, 2), (0, 0, 0), (-1, 1, 1), (np.nan, 1, 1)])
def test_spacing_is_the_affines_and_pixdim_as_it_is_stored(path, stale):
    raw = uncompressed()
    fields = [("pixdim", number, mm) for number, mm in enumerate(stale, start=1)]
    header = read_header(packed(path, changed(raw, ("srow_z", 2, 2.5), *fields)))
    assert header.spacing == pytest.approx((1, 1, 2.5))
    np.testing.assert_allclose(header.pixdim, stale, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, None),
        ({"srow_x": [0, 0, 0, 5], "srow_y": [0, 0, 0, 5], "srow_z": [0, 0, 0, 5]}, "is zero"),
        ({"srow_z": [0, 0, 0, 5]}, "is flat"),
        ({"srow_y": [0, 0, 1, 5]}, "is flat"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [0, 1e-5, 0, 0]}, "is flat"),
        ({"srow_y": [0, 1e-5, 0, 0]}, None),
        ({"srow_x": [np.nan, 0, 0, 0]}, "is not finite"),
        ({"srow_x": [1, 0, 0, np.inf]}, "is not finite"),
    ],
    ids=["identity", "zeros", "no z", "y is z", "y is nearly x", "small y", "NaN", "infinite"],
)
def test_affine_that_cannot_be_used_is_noted(path, rows, words):
    raw = uncompressed(mask(1, 1))
    fields = [(name, None, row) for name, row in rows.items()]
    header = inspect(packed(path, changed(raw, ("sform_code", None, 1), *fields)), Content.MASK).header
    assert (header.transform or "None").startswith(words or "None")
    assert (header.spacing is None) == (words == "is not finite")


@pytest.mark.parametrize(
    ("moved", "mm"),
    [
        (np.eye(4), 0),
        (np.array([[1, 0, 0, 92.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), 37),
        (np.diag([1, 1, -1, 1]), 22),
        (np.diag([1, 1, 1.5, 1]), 5.5),
    ],
    ids=["same", "37 mm aside", "flip of the 2 mm slices", "slices of 3 mm"],
)
def test_distance_of_qform_and_sform_is_that_of_the_farthest_corners(path, moved, mm):
    image = volume(counting())
    image.set_sform(TURNED, 1)
    image.set_qform(TURNED @ moved, 2)
    assert read_header(write_volume(path, image)).qform_mm == pytest.approx(mm, abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "mm"),
    [
        ([("qform_code", None, 0)], None),
        ([("sform_code", None, 0)], None),
        ([("srow_x", None, 0)], None),
        ([("quatern_b", None, 3)], np.inf),
        ([("quatern_b", None, np.nan)], np.inf),
        ([("qoffset_x", None, np.nan)], np.inf),
    ],
    ids=["no qform", "no sform", "sform without x", "no rotation", "rotation NaN", "offset NaN"],
)
def test_qform_is_compared_only_with_an_sform_that_can_be_used(path, fields, mm):
    image = volume(counting(), TURNED)
    image.set_qform(TURNED, 1)
    assert read_header(packed(path, changed(image.to_bytes(), *fields))).qform_mm == mm


def test_volume_of_a_voxel_is_the_affines():
    assert voxel_ml(tuple(np.diag([0.5, 0.5, 2, 1]).ravel())) == pytest.approx(0.0005)
    assert voxel_ml(tuple(AFFINE.ravel())) == pytest.approx(abs(np.linalg.det(AFFINE)) / 1000)


@pytest.mark.parametrize("field", ["data_type", "db_name", "descrip", "aux_file", "intent_name"])
@pytest.mark.parametrize("endianness", "<>")
def test_free_text_is_found(path, field, endianness):
    image = volume(counting(), endianness=endianness, **{field: b"John Doe"})
    assert read_header(write_volume(path, image)).text == ((field, "John Doe"),)


def test_text_that_cannot_be_printed_is_escaped(path):
    texts = {"descrip": "Jörg\n1".encode(), "db_name": b"FSL\xa05.0", "aux_file": b"a\0b", "intent_name": b" \n"}
    assert read_header(write_volume(path, volume(counting(), **texts))).text == (
        ("db_name", r"FSL\xa05.0"),
        ("descrip", r"J\xc3\xb6rg\n1"),
        ("aux_file", r"a\x00b"),
    )


def with_extensions(raw, *extensions, order="<", flag=1, gap=b""):
    """The file `raw` with extensions (code, content) and then `gap` before its voxels."""
    blobs = []
    for code, content in extensions:
        size = (len(content) + 8 + 15) // 16 * 16
        blobs.append(struct.pack(f"{order}ii", size, code) + content.ljust(size - 8, b"\0"))
    blob = b"".join(blobs) + gap
    offset = struct.pack(f"{order}f", 352 + len(blob))
    return raw[:108] + offset + raw[112:348] + bytes([flag, 0, 0, 0]) + blob + raw[352:]


@pytest.mark.parametrize("order", "<>")
def test_extensions_are_found_and_the_data_behind_them(path, order):
    raw = volume(mask(1, 1, 1), endianness=order).to_bytes()
    extensions = [(6, b"patient: John Doe"), (4, b"<afni/>"), (44, b"")]
    inspection = inspect(packed(path, with_extensions(raw, *extensions, order=order)), Content.MASK)
    assert inspection.header.text == (("extension 6", "patient: John Doe"), ("extension 4", "<afni/>"))
    assert inspection.header.data_offset == 352 + 32 + 16 + 16
    assert inspection.marked == 3
    assert [e.get_code() for e in nib.load(path).header.extensions] == [6, 4, 44]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"extensions": [(6, b"John")], "flag": 0}, ("extension 6 behind a flag that says there is none", "John")),
        ({"extensions": [], "flag": 0, "gap": bytes(64)}, None),
        ({"extensions": [], "flag": 0, "gap": b"John"}, ("bytes before the first voxel", "John")),
        ({"extensions": [], "flag": 0, "gap": bytes(30) + b"John"}, ("bytes before the first voxel", "John")),
        ({"extensions": [], "flag": 0, "gap": b"\x01".ljust(16, b"\0")}, ("bytes before the first voxel", r"\x01")),
        ({"extensions": [(6, b"")], "gap": b"John"}, ("bytes before the first voxel", "John")),
        ({"extensions": [(6, b"")], "flag": 0, "gap": b"John" * 8}, ("bytes before the first voxel", "John" * 8)),
    ],
    ids=[
        "cleared flag", "zeros behind a cleared flag", "short gap", "behind zeros", "no text at all",
        "behind extensions", "behind extensions with a cleared flag",
    ],
)  # fmt: skip
def test_bytes_between_header_and_voxels_are_found(path, parts, text):
    extensions = parts.pop("extensions")
    raw = with_extensions(uncompressed(), *extensions, **parts)
    assert read_header(packed(path, raw)).text == ((text,) if text else ())


def test_bytes_beside_the_extension_flag_are_found(path):
    raw = bytearray(uncompressed())
    raw[349:352] = b"Doe"
    assert read_header(packed(path, raw)).text == (("bytes before the first voxel", "Doe"),)


def test_long_text_is_bounded_but_told_from_another(path):
    long = [b"John Doe " * 10_000, b"John Doe " * 9_999 + b"Jane Doe "]
    one, other = (read_header(packed(path, with_extensions(uncompressed(), (6, text)))).text[0][1] for text in long)
    assert len(one) < 400 and one.startswith("John Doe John") and one != other


def test_ever_so_many_extensions_are_bounded(path):
    header = read_header(packed(path, with_extensions(uncompressed(), *((6, b"%d" % n) for n in range(1, 9999)))))
    assert len(header.text) < 60
    assert header.text[0] == ("extension 6", "1")
    assert header.text[-1][0] == "further bytes before the first voxel"


@pytest.mark.parametrize("size", [0, 7, -16, 33, 1 << 30, -(1 << 31)])
@pytest.mark.parametrize("order", "<>")
def test_extension_at_which_nibabel_stops_is_refused(path, size, order):
    raw = with_extensions(volume(counting(), endianness=order).to_bytes(), (6, b"John"), order=order, gap=bytes(8))
    raw = raw[:352] + struct.pack(f"{order}i", size) + raw[356:]
    with pytest.raises(NiftiError, match=f"an extension says that it is {size} bytes long"):
        read_header(packed(path, raw))


def gzip_member(data, *, name=None, comment=None, extra=b"", checked=False):
    """One gzip member, each optional field of its header at will."""
    flags = 4 * bool(extra) | 8 * (name is not None) | 16 * (comment is not None) | 2 * checked
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff"
    head += struct.pack("<H", len(extra)) + extra if extra else b""
    head += b"".join(field + b"\0" for field in (name, comment) if field is not None)
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if checked else b""
    return head + gzip.compress(data)[10:]


def blocked(raw, size):
    """Blocked gzip (BGZF), as its tools write it: small members that each say how long they are, and an empty last."""
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    return b"".join(gzip_member(piece, extra=b"BC\2\0\xff\xff") for piece in (*pieces, b""))


@pytest.mark.parametrize(
    "pack",
    [
        lambda raw: gzip.compress(raw, 1),
        lambda raw: gzip.compress(raw, 9),
        lambda raw: gzip.compress(raw, 0),
        lambda raw: gzip.compress(raw[:100]) + gzip.compress(raw[100:400]) + gzip.compress(raw[400:]),
        lambda raw: gzip.compress(raw) + gzip.compress(b""),
        lambda raw: gzip.compress(raw) + bytes(512),
        lambda raw: blocked(raw, 300),
        lambda raw: blocked(raw, 65280),
        lambda raw: gzip.compress(raw[:1000]) + bytes(9999) + gzip.compress(raw[1000:]),
        lambda raw: gzip_member(raw, name=b"volume.nii", checked=True),
        lambda raw: gzip_member(b"") * 3 + gzip_member(raw, name=b"volume.nii.gz", extra=b"BC\2\0ab"),
    ],
    ids=[
        "level 1", "level 9", "stored", "three members", "empty member", "padding", "blocked", "large blocks",
        "padding between members", "own name", "empty first members",
    ],
)  # fmt: skip
def test_digest_and_size_are_the_files(path, pack):
    content = pack(uncompressed(np.random.default_rng(1).integers(0, 999, (40, 50, 60)).astype("<i2")))
    passed = []
    with DigestingReader(write(path, content), lambda piece: passed.append(bytes(piece))) as source:
        inspection = nifti.inspect(source, Content.CT)
        source.drain()
    assert (inspection.surplus, inspection.garbage, inspection.text, inspection.header.text) == (0, 0, (), ())
    assert inspection.header.gzip_name is None
    assert b"".join(passed) == content
    assert (source.sha256, source.size) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_members_may_lie_anywhere_in_what_is_read_at_once(path, piece):
    members = [gzip_member(b"ab", comment=b"c" * 20), gzip_member(b""), bytes(5), gzip_member(b"cde" * 40, name=b"n")]
    with write(path, b"".join(members) + b"garbage").open("rb", buffering=0) as file:
        stream = Gunzip(file, "", piece)
        content = b"".join(iter(lambda: stream.read(3), b""))
    assert content == b"ab" + b"cde" * 40
    assert (stream.trailing, stream.garbage) == (12, 7)
    assert dict(stream.text()) == {
        "name in the header of a later gzip member": "n",
        "end of the file, after its gzip stream,": "garbage",
    }


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        (b"volume.nii", None),
        (b"volume.nii.gz", None),
        (b"", None),
        (b"DOE_JANE_19500101_CT.nii", "DOE_JANE_19500101_CT.nii"),
        (b"Volume.nii", "Volume.nii"),
        (b"/home/volume.nii", "/home/volume.nii"),
        (b"J\xf6rg\xa0.nii", r"J\xf6rg\xa0.nii"),
    ],
)
def test_name_in_the_gzip_header_is_noted_if_it_is_another(path, name, noted):
    header = read_header(write(path, gzip_member(uncompressed(), name=name)))
    assert (header.gzip_name, header.text) == (noted, ())


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"comment": b"Jane Doe"}, (("gzip comment", "Jane Doe"),)),
        ({"extra": b"JD\4\0Jane"}, (("gzip extra field", r"JD\x04\x00Jane"),)),
        ({"extra": b"BC\2\0\1\2JD\4\0Jane"}, (("gzip extra field", r"JD\x04\x00Jane"),)),
        ({"extra": b"Jane Doe"}, (("gzip extra field", "Jane Doe"),)),
        ({"extra": b"BC\4\0Jane"}, (("gzip extra field", r"BC\x04\x00Jane"),)),
        ({"extra": b"BC\2\0\1\2"}, ()),
        ({"extra": bytes(8)}, ()),
    ],
    ids=["comment", "extra", "beside a block size", "no subfield", "no block size", "block size", "zeros"],
)
def test_text_in_the_gzip_header_is_found(path, fields, text):
    assert read_header(write(path, gzip_member(uncompressed(), **fields, checked=True))).text == text
    raw = uncompressed()
    content = gzip_member(raw[:500]) + gzip_member(raw[500:], **fields)
    later = inspect(write(path, content), Content.CT).text
    assert [text for _, text in later] == [text for _, text in text]
    assert all("later gzip member" in place for place, _ in later)


def test_text_of_the_gzip_header_that_every_member_repeats_is_said_once(path):
    fields = {"name": b"DOE.nii", "comment": b"Jane Doe", "extra": b"JD\0\0"}
    inspection = inspect(write(path, b"".join(gzip_member(raw, **fields) for raw in split(uncompressed()))), Content.CT)
    assert (len(inspection.header.text), inspection.header.gzip_name, inspection.text) == (2, "DOE.nii", ())


def test_wrong_crc_of_a_gzip_header_is_refused(path):
    content = bytearray(gzip_member(uncompressed(), name=b"volume.nii", checked=True))
    content[12] ^= 1
    with pytest.raises(NiftiError, match="the CRC of its gzip header is wrong"):
        read_header(write(path, content))


@pytest.mark.parametrize("field", ["name", "comment"])
def test_gzip_header_without_end_is_refused(path, field):
    for size, reason in ((10_000_000, "has a gzip header that is too long"), (50, "is cut short")):
        content = gzip_member(b"", **{field: b"x" * size})[: 20 + size // 2]
        with pytest.raises(NiftiError, match=reason):
            read_header(write(path, content))


@pytest.mark.parametrize(
    ("tail", "trailing", "garbage", "text"),
    [
        (b"", 0, 0, ""),
        (bytes(512), 512, 0, ""),
        (b"and more", 8, 8, "and more"),
        (bytes(10_000) + b"\x1f", 10_001, 1, ""),
        (bytes(3) + b"\1\2\3" + bytes(9), 15, 12, ""),
        (b"\xff" * 300_000 + b"Jane Doe\0", 300_009, 300_009, "Jane Doe"),
        ("Zoë Müller".encode("utf-16"), 22, 22, "ller"),
        ("\0" * 5 + "Zoë Müller", 17, 12, r"Zo\xc3\xab M\xc3\xbcller"),
    ],
    ids=["nothing", "zeros", "text", "magic cut off", "numbers", "text far behind", "UTF-16", "UTF-8"],
)
def test_bytes_after_the_gzip_stream_are_counted_and_read(path, tail, trailing, garbage, text):
    tail = tail.encode() if isinstance(tail, str) else tail
    inspection = inspect(write(path, gzip.compress(uncompressed()) + tail), Content.CT)
    assert (inspection.surplus, inspection.trailing, inspection.garbage) == (0, trailing, garbage)
    assert inspection.text == ((("end of the file, after its gzip stream,", text),) if text else ())
    try:
        gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError):  # what the datasets library decodes with
        assert garbage
    else:
        assert not garbage


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (b"\0", ""),
        (bytes(2_000_000), ""),
        (bytes(700_000) + b"Jane Doe" + bytes(700_000), "Jane Doe"),
        (b"\xff" * ((1 << 18) - 4) + b"Jane Doe", "Jane Doe"),
    ],
)
def test_bytes_after_the_last_voxel_are_counted_and_read(path, more, text):
    inspection = inspect(packed(path, uncompressed() + more), Content.CT)
    assert (inspection.surplus, inspection.trailing) == (len(more), 0)
    assert inspection.text == ((("end of the file, after its last voxel,", text),) if text else ())


def test_the_crc_is_verified_behind_the_last_voxel(path):
    content = gzip.compress(uncompressed() + bytes(2_000_000))
    for damage in (cut(-8), cut(-1), flipped(-8)):
        with pytest.raises(NiftiError, match=r"is cut short|CRC"):
            inspect(write(path, damage(content)), Content.CT)


def test_ever_so_much_text_is_bounded(path):
    text = b"".join(b"Jane Doe %d\xff" % number for number in range(100_000))
    inspection = inspect(write(path, gzip.compress(uncompressed() + text) + text), Content.CT)
    assert [len(text) < 400 for _, text in inspection.text] == [True, True]
    inspection = inspect(
        write(path, b"".join(gzip_member(raw, name=raw.hex().encode()) for raw in map(bytes, split(uncompressed())))),
        Content.CT,
    )
    assert [len(text) < 400 for _, text in inspection.text] == [True]


def split(raw, size=50):
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def cut(end):
    return lambda packed: packed[:end]


def flipped(position):
    def flip(packed):
        at = position % len(packed)
        return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]

    return flip


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        *((cut(end), "is cut short") for end in (1, 5, 10, 11, 100, 2000, -9, -8, -5, -1)),
        (flipped(-8), "is damaged: its content does not match its gzip CRC and length"),
        (flipped(-1), "is damaged: its content does not match its gzip CRC and length"),
        (flipped(1), "is not a gzip file"),
        (flipped(2), "its gzip header names an unknown method or flag"),
        (lambda packed: packed[:3] + b"\x80" + packed[4:], "its gzip header names an unknown method or flag"),
        (lambda packed: packed[:10] + b"\xff" + packed[11:], "is damaged inside its gzip stream"),
        (lambda packed: packed + packed[:-4], "is cut short"),
        (lambda packed: packed + gzip.compress(b"")[:-1], "is cut short"),
        (lambda packed: packed + flipped(-6)(gzip.compress(b"")), "is damaged"),
        (lambda packed: b"", "is empty"),
        (lambda packed: gzip.decompress(packed), "is not a gzip file"),
        (lambda packed: gzip.compress(packed), "is compressed twice"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:-1]), "ends 1 bytes before the end of the data"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:352]), "ends 4800 bytes before the end of the data"),
    ],
)
def test_damaged_file_is_refused(path, damage, reason):
    packed = gzip.compress(uncompressed(np.random.default_rng(1).random((10, 10, 12), "f4")), 1)
    assert inspect(write(path, packed), Content.CT)
    with pytest.raises(NiftiError, match=reason):
        inspect(write(path, damage(packed)), Content.CT)


def test_flipped_byte_in_the_data_is_found_by_the_crc(path):
    noise = np.random.default_rng(1).random((40, 50, 60), "f4")
    packed = gzip.compress(uncompressed(noise), 0)
    with pytest.raises(NiftiError, match="CRC"):
        inspect(write(path, flipped(len(packed) // 2)(packed)), Content.MAP)


def test_damage_behind_the_header_does_not_hinder_reading_the_header(path):
    packed = gzip.compress(uncompressed(np.random.default_rng(1).random((40, 50, 60), "f4")), 0)
    assert read_header(write(path, flipped(-8)(packed))).shape == (40, 50, 60)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: b"", "ends after 0 bytes, inside the NIfTI header"),
        (lambda raw: raw[:300], "ends after 300 bytes, inside the NIfTI header"),
        (lambda raw: raw[:351], "ends after 351 bytes, inside the NIfTI header"),
        (lambda raw: b"not an image at all" * 50, "invalid NIfTI header"),
        (lambda raw: raw[:344] + b"ni1\0" + raw[348:], "NIfTI"),
        (lambda raw: raw[:344] + b"\0\0\0\0" + raw[348:], "magic"),
        (lambda raw: raw[:42] + struct.pack("<h", 0) + raw[44:], "shape"),
        (lambda raw: raw[:42] + struct.pack("<h", -4) + raw[44:], "shape"),
        (lambda raw: raw[:40] + struct.pack("<h", 0) + raw[42:], "shape"),
        (lambda raw: raw[:70] + struct.pack("<hh", 9999, 16) + raw[74:], "data code"),
        (lambda raw: raw[:108] + struct.pack("<f", 100) + raw[112:], "offset"),
        (lambda raw: raw[:108] + struct.pack("<f", 1e6) + raw[112:], "ends before its data starts"),
        (lambda raw: raw[:108] + struct.pack("<f", float("inf")) + raw[112:], "invalid NIfTI header"),
        (lambda raw: raw[:108] + struct.pack("<f", 1e30) + raw[112:], FAR_OFF),
        (lambda raw: raw[:108] + struct.pack("<f", 1e15) + raw[112:], FAR_OFF),
        (lambda raw: raw[:116] + struct.pack("<f", float("nan")) + raw[120:], "intercept"),
    ],
    ids=[
        "empty", "300 bytes", "351 bytes", "text", "header of a pair", "no magic", "no columns", "negative columns",
        "no axes", "unknown type", "data in the header", "data behind the end", "data at infinity", "data far off",
        "data beyond memory", "intercept NaN",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "read", [read_header, lambda path: inspect(path, Content.CT)], ids=["header alone", "whole file"]
)
def test_invalid_header_is_refused(path, damage, reason, read):
    with pytest.raises(NiftiError, match=reason):
        read(write(path, gzip.compress(damage(uncompressed()))))


@pytest.mark.parametrize("code", [128, 2304, 32, 1792, 1024, 1280])
def test_voxels_of_any_type_are_read(path, code):
    """RGB, RGBA, complex numbers, whole numbers of 64 bits."""
    header = nib.Nifti1Header()
    header["datatype"] = code
    dtype = header.get_data_dtype()
    image = volume(np.zeros((50, 60, 70), dtype))
    inspection = inspect(write_volume(path, image), Content.MASK)
    assert np.dtype(inspection.header.dtype).itemsize == dtype.itemsize
    assert nifti.is_numeric(inspection.header.dtype) == (code not in (128, 2304))
    assert (inspection.marked, inspection.surplus) == (0, 0)


@pytest.mark.parametrize("endianness", "<>")
def test_nifti_2_is_refused_by_name(path, endianness):
    image = nib.Nifti2Image(counting(), np.eye(4), nib.Nifti2Header(endianness=endianness))
    with pytest.raises(NiftiError, match="NIfTI-2"):
        read_header(write_volume(path, image))


def loads(raw):
    """Whether nibabel, and so the datasets library, makes an image of the uncompressed bytes `raw`."""
    try:
        nib.Nifti1Image.from_bytes(raw)
    except Exception:
        return False
    return True


def one_byte_each(raw):
    """Every byte of the header, one at a time, with several values."""
    for position in range(352):
        for value in (0, 0x7F, 0x80, 0xFF):
            yield raw[:position] + bytes([value]) + raw[position + 1 :]


def several_bytes(raw):
    """Bytes of header and extensions, some at a time."""
    chance = random.Random(1)
    for _ in range(600):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(raw) - 150)] = chance.choice((0, 1, 4, 16, 0x7F, 0x80, 0xFF))
        yield bytes(damaged)


@pytest.mark.parametrize("mutate", [one_byte_each, pytest.param(several_bytes, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")
def test_mutated_header_is_read_or_refused_as_nibabel_does(path, mutate):
    raw = uncompressed(mask(1))
    if mutate is several_bytes:
        raw = with_extensions(raw, (6, b"John"), (4, b"<afni/>" * 3), (2, b"\x10\0\x20\0"), gap=bytes(8))
    outcomes = set()
    for damaged in mutate(raw):
        packed(path, damaged)
        try:
            header = inspect(path, Content.MASK).header
            outcome = "read"
        except NiftiError as error:
            outcome = "refused as invalid" if "invalid NIfTI header" in str(error) else "refused"
        if outcome == "read":
            image = nib.Nifti1Image.from_bytes(damaged)
            np.testing.assert_array_equal(image.affine.ravel(), header.affine)
            assert (image.shape, image.get_data_dtype()) == (header.shape, np.dtype(header.dtype))
        assert not (outcome == "refused as invalid" and loads(damaged))
        outcomes.add(outcome)
    assert outcomes == {"read", "refused", "refused as invalid"}


def test_mutated_file_is_read_or_refused_but_never_crashes(path):
    """Bytes of the gzip file changed, left out and put in. What is read is what Python's gzip reads as well."""
    chance = random.Random(1)
    raw = with_extensions(uncompressed(mask(1, 2, 3)), (6, b"John"))
    sound = gzip.compress(raw[:300]) + gzip_member(raw[300:], name=b"a", comment=b"b", extra=b"XY\1\0c", checked=True)
    outcomes = set()
    for _ in range(1500):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.choice((0, 1, 1, 1, 4))] = chance.randbytes(chance.choice((0, 1, 1, 1, 3)))
        write(path, damaged)
        try:
            inspection = inspect(path, Content.LABELS)
            read_header(path)
            outcomes.add("read")
        except NiftiError:
            outcomes.add("refused")
            continue
        if not inspection.garbage:
            assert len(gzip.decompress(damaged)) == len(raw) + inspection.surplus
    assert outcomes == {"read", "refused"}


def test_a_file_that_cannot_be_read_is_refused_in_the_systems_words(path):
    for read in (read_header, lambda path: inspect(path, Content.CT)):
        with pytest.raises(NiftiError, match="cannot be read: No such file"):
            read(path)
        path.mkdir(exist_ok=True)
        with pytest.raises(NiftiError, match="cannot be read: Is a directory"):
            read(path)
        path.rmdir()


@pytest.mark.parametrize(
    ("voxels", "marked"),
    [
        (mask(), 0),
        (mask(1, 1, 0, 1), 3),
        (mask(1, 1, dtype="<f8"), 2),
        (mask(1, 1, dtype=">i2"), 2),
        (np.ones(SHAPE, "u1"), 120),
    ],
)
def test_binary_mask_is_counted(path, voxels, marked):
    inspection = inspect(write_volume(path, volume(voxels)), Content.MASK)
    assert (inspection.marked, inspection.labels) == (marked, (1,) if marked else ())


@pytest.mark.parametrize("marked", [(65535,) * 7, ()])
def test_mask_of_2024_is_counted_after_scaling(path, marked):
    image = volume(mask(*marked, dtype="<u2"), scl_slope=SLOPE_OF_2024, scl_inter=0)
    inspection = inspect(write_volume(path, image), Content.MASK)
    assert (inspection.marked, inspection.labels) == (len(marked), (1,) if marked else ())


def test_mask_whose_zeros_mean_one_is_counted_after_scaling(path):
    image = volume(mask(255, 255), scl_slope=-1 / 255, scl_inter=1)
    inspection = inspect(write_volume(path, image), Content.MASK)
    assert (inspection.marked, inspection.labels, inspection.no_labels) == (118, (1,), "")


def test_mask_of_zeros_that_mean_one_is_full(path):
    assert inspect(write_volume(path, volume(mask(), scl_slope=2, scl_inter=1)), Content.MASK).marked == 120


def test_slope_that_is_no_number_is_as_if_there_was_none(path):
    image = volume(mask(1, 2), scl_slope=np.nan, scl_inter=np.nan)
    assert inspect(write_volume(path, image), Content.LABELS).labels == (1, 2)


def test_mask_is_counted_over_all_of_a_large_file(path):
    voxels = np.zeros((128, 128, 100), "<f8")
    voxels[::7, ::5, ::3] = 1
    assert inspect(write_volume(path, volume(voxels)), Content.MASK).marked == np.count_nonzero(voxels)


@pytest.mark.parametrize(
    ("voxels", "marked", "labels", "no_labels"),
    [
        (mask(1, 2), 2, (1, 2), ""),
        (mask(255), 1, (255,), ""),
        (mask(-1, 2, dtype="i2"), 2, (2,), "negative numbers"),
        (mask(0.5, 3, dtype="f4"), 2, (3,), "fractions"),
        (mask(1.0009, 2.9991, 0.0009, 3.002, dtype="f8"), 3, (1, 3), "fractions"),
        (mask(np.nan, 1, np.nan, dtype="f8"), 3, (1,), "values that are NaN or infinite"),
        (mask(np.inf, dtype=">f4"), 1, (), "values that are NaN or infinite"),
        (
            mask(-1.5, 1.5, -np.inf, dtype="f4"),
            3,
            (),
            "fractions, negative numbers and values that are NaN or infinite",
        ),
        (mask(1 + 3j, 2, 3j, dtype="c8"), 3, (2,), "complex numbers"),
        (mask(complex(0, np.nan), 1, dtype="c16"), 2, (1,), "values that are NaN or infinite"),
        (mask(1e30, 2**31 - 1, dtype="f8"), 2, (2**31 - 1,), "very large numbers"),
        (mask(2**63, 1, dtype="u8"), 2, (1,), "very large numbers"),
    ],
)
@pytest.mark.parametrize("content", [Content.MASK, Content.LABELS])
def test_whatever_a_mask_holds_is_counted(path, content, voxels, marked, labels, no_labels):
    inspection = inspect(write_volume(path, volume(voxels)), content)
    assert (inspection.marked, inspection.labels, inspection.no_labels) == (marked, labels, no_labels)
    assert not inspection.more_labels


@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f8", "<c8"])
def test_value_in_the_last_voxel_is_found(path, dtype):
    voxels = np.zeros((128, 128, 100), dtype)
    voxels[-1, -1, -1] = 2
    assert inspect(write_volume(path, volume(voxels)), Content.MASK).labels == (2,)


@pytest.mark.parametrize("dtype", ["<i2", ">f4", "<f8"])
@pytest.mark.parametrize("count", [MOST_LABELS, MOST_LABELS + 1, 3000])
def test_labels_are_bounded(path, dtype, count):
    voxels = np.arange(64 * 64 * 10).reshape(64, 64, 10) % (count + 1)
    inspection = inspect(write_volume(path, volume(voxels.astype(dtype))), Content.LABELS)
    assert inspection.labels == tuple(range(1, 1 + min(count, MOST_LABELS)))
    assert inspection.more_labels == (count > MOST_LABELS)
    assert (inspection.marked, inspection.no_labels) == (np.count_nonzero(voxels), "")


def test_many_labels_take_no_longer_than_few(path, tmp_path):
    """600,000 of them, and as many fractions."""
    few, many = np.ones((100, 100, 60)), np.arange(600_000.0).reshape(100, 100, 60)

    def seconds(voxels):
        write_volume(path, volume(voxels))
        start = time.perf_counter()
        inspect(path, Content.LABELS)
        return time.perf_counter() - start

    usual = seconds(few)
    assert max(seconds(many), seconds(many + 0.25)) < 10 * usual + 0.2


def test_labels_are_listed_and_counted(path):
    inspection = inspect(write_volume(path, volume(mask(12, 3, 3, 1))), Content.LABELS)
    assert (inspection.marked, inspection.labels) == (4, (1, 3, 12))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_non_finite_voxels_of_a_map_are_counted_and_allowed(path, dtype):
    voxels = np.full((64, 64, 80), -30, dtype)
    voxels.flat[:: len(voxels.flat) // 5] = np.nan
    voxels[1, 1, :3] = np.inf, -np.inf, np.nan
    expected = np.count_nonzero(~np.isfinite(voxels))
    assert expected > 7
    inspection = inspect(write_volume(path, volume(voxels)), Content.MAP)
    assert (inspection.non_finite, inspection.marked, inspection.labels) == (expected, 0, ())


@pytest.mark.parametrize("dtype", ["<i2", ">f4", "<f8"])
def test_voxels_are_shown_in_file_order_as_they_are_stored(path, dtype):
    voxels = counting(dtype, (64, 70, 80))
    image = volume(voxels, endianness=">" if dtype[0] == ">" else "<", scl_slope=0.5, scl_inter=-3)
    write_volume(path, image)
    shown = np.full(voxels.size, -1.0)
    pieces = []

    def see(header, start, stored):
        pieces.append(stored.size)
        shown[start : start + stored.size] = stored
        assert (header.shape, header.slope, stored.dtype) == (voxels.shape, 0.5, np.dtype(dtype))

    with DigestingReader(path) as source:
        nifti.inspect(source, Content.MAP, see)
    np.testing.assert_array_equal(shown.reshape(voxels.shape, order="F"), voxels)
    assert (sum(pieces), max(pieces) * voxels.itemsize <= 1 << 20) == (voxels.size, True)


def test_whole_numbers_are_all_finite(path):
    assert inspect(write_volume(path, volume(counting())), Content.CT).non_finite == 0


def test_memory_does_not_grow_with_the_volume(path):
    """115 MB that do not compress."""
    assert float(python(MEMORY, path).stdout) < 60
