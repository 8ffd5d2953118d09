"""Pictures as cameras, phones and editors leave them: read as one sees them, or refused."""

import struct
import zlib

import numpy as np
import pytest
import torch
from image_files import pixels
from PIL import Image, ImageCms

from invconv.data import load
from invconv.files import brief

COLORS = pixels(1, (3, 6, 8))[0]
RGB = Image.fromarray(COLORS.transpose(1, 2, 0))
GRAY = RGB.convert("L")
SEE_THROUGH = bytes([0]) + bytes([255]) * 255


def saved(folder, picture, suffix="png", **options):
    """Ten files of one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(10):
        picture.save(folder / f"{i}.{suffix}", **options)
    return folder


def read(folder):
    """One of the images, (C, H, W)."""
    return load("folder", "test", path=folder).images[0]


def assert_refused(folder, reason):
    with pytest.raises(ValueError, match=rf"has {reason}, but one opaque picture, gray or RGB"):
        read(folder)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_was_taken_with_the_phone_turned_is_upright(tmp_path, suffix, orientation):
    """Stored with the left half black; upright, the black half is where the owner sees it."""
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(saved(tmp_path, Image.fromarray(stored), suffix, exif=exif))
    black = "left" if orientation in (1, 4) else "right" if orientation in (2, 3) else ""
    black = black or ("top" if orientation in (5, 6) else "bottom")
    halves = {
        "left": found[:, :, :8],
        "right": found[:, :, 8:],
        "top": found[:, :8],
        "bottom": found[:, 8:],
    }
    assert min(halves, key=lambda side: halves[side].float().mean()) == black


def test_a_photo_is_turned_before_it_is_cropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = saved(tmp_path, RGB, exif=exif)
    assert read(folder).shape == (3, 8, 6)
    assert load("folder", "test", path=folder, size=6).shape == (3, 6, 6)
    middle = torch.from_numpy(COLORS[:, :, 1:7]).rot90(-1, (1, 2))
    assert torch.equal(load("folder", "test", path=folder, size=6).images[0], middle)


def test_a_screenshot_with_an_opaque_alpha_channel_is_read(tmp_path):
    assert torch.equal(read(saved(tmp_path / "a", RGB.convert("RGBA"))), torch.from_numpy(COLORS))
    gray = torch.from_numpy(np.array(GRAY))[None]
    assert torch.equal(read(saved(tmp_path / "b", GRAY.convert("LA"))), gray)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_logo_with_transparent_pixels_is_refused(tmp_path, mode):
    picture = RGB.convert(mode)
    picture.putpixel((3, 2), (7,) * (len(mode) - 1) + (254,))
    assert_refused(saved(tmp_path, picture), "transparent pixels")


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_a_png_with_a_color_that_stands_for_transparency_is_refused(tmp_path, mode):
    picture = RGB.convert(mode)
    assert_refused(
        saved(tmp_path, picture, transparency=picture.getpixel((0, 0))), "transparent pixels"
    )


def test_a_png_whose_transparent_color_is_nowhere_is_read(tmp_path):
    picture = Image.new("RGB", (8, 6), (1, 2, 3))
    found = read(saved(tmp_path, picture, transparency=(9, 9, 9)))
    assert found.flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]


def test_a_picture_with_a_palette_is_read_in_its_colors(tmp_path):
    picture = RGB.convert("P", palette=Image.Palette.ADAPTIVE)
    truth = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    for name, options in {"plain": {}, "opaque": {"transparency": b"\xff" * 256}}.items():
        assert torch.equal(read(saved(tmp_path / name, picture, **options)), truth)
    clear = picture.getpixel((0, 0)) * b"\xff" + b"\0"
    assert_refused(saved(tmp_path / "clear", picture, transparency=clear), "transparent pixels")


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_a_scan_in_black_and_white_is_read(tmp_path, suffix):
    picture = GRAY.point(lambda value: 255 * (value > 99), mode="1")
    found = read(saved(tmp_path, picture, suffix))
    assert torch.equal(found, torch.from_numpy(255 * (np.array(GRAY) > 99).astype(np.uint8))[None])
    assert load("folder", "test", path=tmp_path, bits=1).levels == 2


def test_a_cmyk_photo_for_print_is_refused(tmp_path):
    assert_refused(saved(tmp_path, RGB.convert("CMYK"), "jpg"), "Pillow's mode CMYK")


def png_of_16_bits(channels):
    """A PNG of 8×6 pixels as an editor exports it; its alpha channel, if any, is opaque."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    values = np.full((6, 8, channels), 1000, ">u2")
    values[..., channels - (channels % 2 == 0) :] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 8, 6, 16, kind, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_export_of_16_bits_is_refused(tmp_path, channels):
    """Pillow reads three or four channels of 16 bits as eight and says nothing."""
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(png_of_16_bits(channels))
    assert_refused(tmp_path, "16 bits per channel")


def test_a_bmp_of_16_bits_per_pixel_is_read(tmp_path):
    """Five bits per channel, as old programs write."""
    pixel = struct.pack("<H", 31 << 10 | 16 << 5)
    header = b"BM" + struct.pack("<IHHI", 54 + 96, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 8, 6, 1, 16, 0, 96, 0, 0, 0, 0)
    for i in range(10):
        (tmp_path / f"{i}.bmp").write_bytes(header + 48 * pixel)
    assert read(tmp_path)[:, 0, 0].tolist() == [255, 131, 0]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_is_refused(tmp_path, suffix):
    later = {"save_all": True, "append_images": [RGB.rotate(180)]}
    assert_refused(saved(tmp_path, RGB, suffix, **later), "2 frames")


def test_a_phone_photo_with_a_second_picture_behind_it_is_read(tmp_path):
    behind = Image.new("RGB", (4, 3))
    options = {"format": "MPO", "save_all": True, "append_images": [behind], "quality": 100}
    assert read(saved(tmp_path, RGB, "jpg", **options)).shape == (3, 6, 8)


def test_a_photo_with_the_color_profile_of_a_wide_screen_is_said(tmp_path):
    def profile(name):
        return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()

    saved(tmp_path / "wide", RGB, icc_profile=profile("XYZ"))
    with pytest.warns(UserWarning, match=r"color profile 'XYZ.*' are read as stored"):
        read(tmp_path / "wide")
    saved(tmp_path / "usual", RGB, icc_profile=profile("sRGB"))
    saved(tmp_path / "broken", RGB, icc_profile=b"broken")
    for name in ("usual", "broken"):
        assert torch.equal(read(tmp_path / name), torch.from_numpy(COLORS))


@pytest.mark.parametrize("suffix", ["JPG", "Jpeg", "PNG", "WEBP", "BMP", "jfif", "JPE"])
def test_files_with_other_suffixes_of_the_same_formats_are_read(tmp_path, suffix):
    kind = {"JPG": "JPEG", "JFIF": "JPEG", "JPE": "JPEG"}.get(suffix.upper(), suffix.upper())
    assert read(saved(tmp_path, RGB, suffix, format=kind)).shape == (3, 6, 8)


def test_a_folder_of_heic_photos_says_what_to_do(tmp_path):
    (tmp_path / "IMG_0002.HEIC").write_bytes(b"")
    (tmp_path / "IMG_0001.HEIC").write_bytes(b"")
    said = r"2 of its images are not read, such as .*IMG_0001\.HEIC: convert them to \.png or"
    with (
        pytest.warns(UserWarning, match=said),
        pytest.raises(FileNotFoundError, match="holds no images") as refused,
    ):
        load("folder", "train", path=tmp_path)
    assert brief(refused.value) == str(refused.value)
    saved(tmp_path, RGB)
    with pytest.warns(UserWarning, match=said):
        assert read(tmp_path).shape == (3, 6, 8)
