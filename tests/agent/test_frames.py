"""Pictures come upright, in true greys, and whole or not at all."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from targets.agent.frames import FrameUnreadable, decode_picture, read_picture

QUARTERS = np.zeros((64, 96, 3), np.uint8)
QUARTERS[8:24, 56:88] = 255


def encoded(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def photo() -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_pictures_come_back_pixel_for_pixel(form):
    options = {"lossless": True} if form == "WEBP" else {}
    picture = decode_picture(encoded(photo(), form, **options))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.asarray(photo()))


def test_sixteen_bit_grey_keeps_its_256_levels():
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    picture = decode_picture(encoded(Image.fromarray(ramp), "PNG"))
    assert picture.shape == (64, 256, 3)
    assert len(np.unique(picture)) == 256
    assert np.abs(picture[:, :, 1].astype(int) - (ramp >> 8)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_turned_pictures_are_set_upright(orientation, form):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(QUARTERS)
    coded = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    picture = decode_picture(encoded(coded, form, exif=exif, **options))
    assert picture.shape == QUARTERS.shape
    assert np.abs(picture.astype(int) - QUARTERS).max() <= 2


def test_a_camera_held_upright_gives_a_high_picture():
    coded = np.zeros((96, 160, 3), np.uint8)
    coded[96 - 86 : 96 - 66, 20:40] = 255  # upright: x 66..86, y 20..40
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode_picture(encoded(Image.fromarray(coded), "JPEG", exif=exif, quality=95))
    assert picture.shape == (160, 96, 3)
    rows, columns = np.nonzero(picture[:, :, 0] > 128)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (66, 86, 20, 40)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM\x00*garbage", b"Exif\x00\x00", b"nothing"])
def test_damaged_exif_does_not_cost_the_picture(exif):
    picture = decode_picture(encoded(photo(), "JPEG", exif=exif))
    assert picture.shape == (96, 128, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_never_half_a_picture(form, kept, monkeypatch):
    whole = encoded(photo(), form)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries do
    with pytest.raises(FrameUnreadable):
        decode_picture(whole[: int(len(whole) * kept)])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.data())
def test_damaged_files_are_a_picture_or_an_error_of_ours(form, data):
    damaged = bytearray(encoded(photo().resize((16, 12)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode_picture(damaged, max_pixels=10_000)
    except FrameUnreadable:
        return
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_png_modes_become_rgb(mode):
    image = Image.fromarray(QUARTERS).convert(mode)
    np.testing.assert_array_equal(decode_picture(encoded(image, "PNG")), QUARTERS)


def test_a_palette_with_transparency_keeps_its_colours():
    image = Image.fromarray(QUARTERS).convert("P", palette=Image.Palette.ADAPTIVE)
    picture = decode_picture(encoded(image, "PNG", transparency=bytes([128] * 256)))
    np.testing.assert_array_equal(picture, QUARTERS)


def test_of_a_file_with_several_pictures_the_first_counts():
    first, second = photo(), photo().transpose(Image.Transpose.ROTATE_180)
    stream = io.BytesIO()
    first.save(stream, "MPO", save_all=True, append_images=[second], quality=95)  # as phones do
    picture = decode_picture(stream.getvalue())
    np.testing.assert_array_equal(picture, decode_picture(encoded(first, "JPEG", quality=95)))


def test_cmyk_becomes_rgb():
    image = Image.fromarray(QUARTERS).convert("CMYK")
    picture = decode_picture(encoded(image, "JPEG", quality=100))
    assert np.abs(picture.astype(int) - QUARTERS).max() <= 3


def test_too_many_pixels_are_refused_before_they_are_decoded():
    small = encoded(Image.new("L", (16, 16)), "PNG")
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(FrameUnreadable, match="pixels"):
        decode_picture(bomb)
    with pytest.raises(FrameUnreadable, match="128 x 96 pixels; the limit is 12000"):
        decode_picture(encoded(photo(), "PNG"), max_pixels=12_000)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff"])
def test_other_files_are_refused_by_name(content):
    with pytest.raises(FrameUnreadable, match="JPEG, PNG, WEBP, BMP"):
        decode_picture(content)


def test_formats_that_nobody_needs_are_not_decoded():
    with pytest.raises(FrameUnreadable):
        decode_picture(encoded(photo(), "TIFF"))


def test_files_that_cannot_be_opened_are_unreadable(tmp_path):
    with pytest.raises(FrameUnreadable, match="No such file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(FrameUnreadable):
        read_picture(tmp_path)


def test_reading_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "søppel—1.png"
    path.write_bytes(encoded(photo(), "PNG"))
    before = path.stat().st_mtime_ns, path.read_bytes()
    np.testing.assert_array_equal(read_picture(path), np.asarray(photo()))
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
