"""Reading volumes that nibabel wrote, and refusing every kind of damage."""

import gzip
import hashlib
import struct

import nibabel as nib
import numpy as np
import pytest

from isles_assets.reading import nifti
from isles_assets.reading.nifti import DigestingReader, NiftiError, read_header, voxel_ml
from isles_assets.release.volumes import Content
from isles_assets_tests.materials import inspect, volume, write_volume
from isles_assets_tests.processes import python

SHAPE = (4, 5, 6)
AFFINE = np.array([[-0.4, 0, 0, 90], [0, 0.39, -0.5, -70], [0, 0.1, 1.9, 12], [0, 0, 0, 1]])
FAR_OFF = "which cannot be|ends before its data starts"
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
header.set_data_shape((512, 512, 200))
noise = np.random.default_rng(1).random(1 << 18, "f4").tobytes()
with igzip.open(path, "wb", compresslevel=0) as file:
    header.write_to(file)
    for _ in range(200):
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
    assert header.spacing == tuple(map(float, loaded.header.get_zooms()[:3]))
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


def test_volume_of_a_voxel_is_the_affines():
    assert voxel_ml(tuple(np.diag([0.5, 0.5, 2, 1]).ravel())) == pytest.approx(0.0005)
    assert voxel_ml(tuple(AFFINE.ravel())) == pytest.approx(abs(np.linalg.det(AFFINE)) / 1000)


@pytest.mark.parametrize("field", ["data_type", "db_name", "descrip", "aux_file", "intent_name"])
@pytest.mark.parametrize("endianness", "<>")
def test_free_text_is_found(path, field, endianness):
    image = volume(counting(), endianness=endianness, **{field: b"John Doe"})
    assert read_header(write_volume(path, image)).text == ((field, "John Doe"),)


def test_text_that_cannot_be_printed_is_escaped(path):
    assert read_header(write_volume(path, volume(counting(), descrip="Jörg\n1".encode()))).text == (
        ("descrip", r"J\xc3\xb6rg\n1"),
    )


@pytest.mark.parametrize("endianness", "<>")
def test_extensions_are_found_and_the_data_behind_them(path, endianness):
    image = volume(mask(1, 1, 1), endianness=endianness)
    for code, content in ((6, b"patient: John Doe"), (4, b"<afni/>")):
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    inspection = inspect(write_volume(path, image), Content.MASK)
    assert inspection.header.text == (("extension 6", "patient: John Doe"), ("extension 4", "<afni/>"))
    assert inspection.header.data_offset > 352
    assert inspection.marked == 3


@pytest.mark.parametrize(
    "pack",
    [
        lambda raw: gzip.compress(raw, 1),
        lambda raw: gzip.compress(raw, 9),
        lambda raw: gzip.compress(raw, 0),
        lambda raw: gzip.compress(raw[:100]) + gzip.compress(raw[100:400]) + gzip.compress(raw[400:]),
        lambda raw: gzip.compress(raw) + gzip.compress(b""),
        lambda raw: gzip.compress(raw) + bytes(512),
    ],
    ids=["level 1", "level 9", "stored", "three members", "empty member", "padding"],
)
def test_digest_and_size_are_the_files(path, pack):
    content = pack(uncompressed(np.random.default_rng(1).integers(0, 999, (40, 50, 60)).astype("<i2")))
    passed = []
    with DigestingReader(write(path, content), lambda piece: passed.append(bytes(piece))) as source:
        nifti.inspect(source, Content.CT)
        source.drain()
    assert b"".join(passed) == content
    assert (source.sha256, source.size) == (hashlib.sha256(content).hexdigest(), len(content))


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
        (flipped(-8), "CRC"),
        (flipped(-1), "length"),
        (flipped(1), "not a sound gzip file"),
        (lambda packed: packed + packed[:-4], "more data"),
        (lambda packed: packed + gzip.compress(b"")[:-1], "is cut short"),
        (lambda packed: packed + packed, "more data"),
        (lambda packed: packed + b"and more", "gzip"),
        (lambda packed: b"", "ends after 0 bytes"),
        (lambda packed: gzip.decompress(packed), "not a sound gzip file"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:-1]), "ends 1 bytes before the end of the data"),
        (lambda packed: gzip.compress(gzip.decompress(packed)[:352]), "ends 4800 bytes before the end of the data"),
        (lambda packed: gzip.compress(gzip.decompress(packed) + b"\0"), "more data than its header promises"),
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
        (lambda raw: raw[:70] + struct.pack("<hh", 128, 24) + raw[74:], "not numeric"),
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
        "colours", "unknown type", "data in the header", "data behind the end", "data at infinity", "data far off",
        "data beyond memory", "intercept NaN",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "read", [read_header, lambda path: inspect(path, Content.CT)], ids=["header alone", "whole file"]
)
def test_invalid_header_is_refused(path, damage, reason, read):
    with pytest.raises(NiftiError, match=reason):
        read(write(path, gzip.compress(damage(uncompressed()))))


@pytest.mark.parametrize("offset", [80, 280], ids=["pixdim", "srow_x"])
def test_affine_or_spacing_that_is_not_finite_is_refused(path, offset):
    raw = bytearray(uncompressed())
    raw[254:256] = struct.pack("<h", 1)
    raw[offset : offset + 4] = struct.pack("<f", float("inf"))
    with pytest.raises(NiftiError, match="not finite"):
        read_header(write(path, gzip.compress(raw)))


@pytest.mark.parametrize("endianness", "<>")
def test_nifti_2_is_refused_by_name(path, endianness):
    image = nib.Nifti2Image(counting(), np.eye(4), nib.Nifti2Header(endianness=endianness))
    with pytest.raises(NiftiError, match="NIfTI-2"):
        read_header(write_volume(path, image))


def test_damaged_header_is_refused_or_read_but_never_crashes(path):
    """Every byte of the header, one at a time, with several values."""
    raw = uncompressed(mask(1))
    outcomes = set()
    for position in range(352):
        for value in (0, 0x7F, 0x80, 0xFF):
            damaged = raw[:position] + bytes([value]) + raw[position + 1 :]
            try:
                inspect(write(path, gzip.compress(damaged, 1)), Content.MASK)
                outcomes.add("read")
            except NiftiError:
                outcomes.add("refused")
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
    assert inspect(write_volume(path, image), Content.MASK).marked == 118


def test_mask_is_counted_over_all_of_a_large_file(path):
    voxels = np.zeros((128, 128, 100), "<f8")
    voxels[::7, ::5, ::3] = 1
    assert inspect(write_volume(path, volume(voxels)), Content.MASK).marked == np.count_nonzero(voxels)


@pytest.mark.parametrize(
    ("content", "voxels", "reason"),
    [
        (Content.MASK, mask(1, 2), "holds 2 after scaling where a binary mask holds 0 and 1"),
        (Content.MASK, mask(255), "holds 255"),
        (Content.MASK, mask(-1, dtype="i2"), "holds -1"),
        (Content.MASK, mask(0.5, dtype="f4"), "holds 0.5"),
        (Content.MASK, mask(np.nan, dtype="f8"), "holds nan"),
        (Content.MASK, mask(np.inf, dtype="f8"), "holds inf"),
        (Content.LABELS, mask(3, 1.5, dtype="f4"), "holds 1.5 after scaling where a label mask holds whole numbers"),
        (Content.LABELS, mask(3, -2, dtype="i2"), "holds -2"),
        (Content.LABELS, mask(np.nan, dtype="f4"), "holds nan"),
        (Content.LABELS, mask(-np.inf, dtype="f4"), "holds -inf"),
    ],
)
def test_mask_with_other_values_is_refused(path, content, voxels, reason):
    with pytest.raises(NiftiError, match=reason):
        inspect(write_volume(path, volume(voxels)), content)


def test_offending_value_in_the_last_voxel_is_found(path):
    voxels = np.zeros((128, 128, 100), "u1")
    voxels[-1, -1, -1] = 2
    with pytest.raises(NiftiError, match="holds 2"):
        inspect(write_volume(path, volume(voxels)), Content.MASK)


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
    """200 MB that do not compress."""
    assert float(python(MEMORY, path).stdout) < 60
