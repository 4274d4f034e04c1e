"""`python -m testbed.emoji.fetch --work WORK`: the artwork, of the npm package emoji-datasource-google 16.0.0.

The pictures are Google's Noto Emoji (Apache License 2.0), the table of names is emoji-data by Cal Henderson (MIT).
`npm pack` leaves the tarball in WORK; it is used only if it is, bit for bit, the one that the registry published.
"""

import argparse
import base64
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PACKAGE = "emoji-datasource-google@16.0.0"
TARBALL = "emoji-datasource-google-16.0.0.tgz"
INTEGRITY = "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A=="  # SHA-512
ARTWORK = "artwork.npz"  # made of the tarball, in the work folder
SIDE = 64


class FetchError(Exception):
    """One line: what is wrong with npm or the tarball, and what to do."""


def tarball(work: Path) -> Path:
    """The package in the work folder, downloaded by npm if it is not there.

    Raises:
        FetchError: there is no npm, it failed, or the file is another one than was published.
    """
    file = work / TARBALL
    if not file.exists():
        command = ["npm", "pack", PACKAGE, "--silent"]
        try:
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise FetchError(f"npm is not installed: install it, or put {TARBALL} into {work}") from error
        except subprocess.CalledProcessError as error:
            said = (error.stderr.strip() or "it said nothing").splitlines()[-1]
            raise FetchError(f"`{' '.join(command)}` failed: {said}") from error
    check(file)
    return file


def check(file: Path) -> None:
    """Whether a tarball is the published one.

    Raises:
        FetchError: it is not.
    """
    with file.open("rb") as stream:
        found = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
    if found != INTEGRITY:
        raise FetchError(f"{file} is not the published {PACKAGE}: its SHA-512 is {found}; move it away and fetch again")


def unpack(file: Path) -> tuple[list[dict[str, str]], NDArray[np.uint8]]:
    """What the package shows: name, category and image file of every emoji, and its picture [N, SIDE, SIDE, 4]."""
    with tarfile.open(file) as archive:
        contents = {
            member.name: content.read()
            for member in archive
            if member.name == "package/emoji.json" or member.name.startswith("package/img/google/64/")
            if (content := archive.extractfile(member)) is not None
        }
    records = [
        {key: record[key] for key in ("name", "category", "image")}
        for record in json.loads(contents["package/emoji.json"])
        if record["has_img_google"]
    ]
    pictures = [Image.open(io.BytesIO(contents[f"package/img/google/64/{record['image']}"])) for record in records]
    return records, np.stack([np.asarray(picture.convert("RGBA")) for picture in pictures])


def fetch(work: Path) -> Path:
    """Leave WORK/artwork.npz, and return it; raises FetchError as `tarball` does."""
    work.mkdir(parents=True, exist_ok=True)
    out = work / ARTWORK
    if not out.exists():
        records, pictures = unpack(tarball(work))
        unfinished = out.with_suffix(".unfinished.npz")
        columns = {key: np.array([record[key] for record in records]) for key in ("name", "category")}
        np.savez_compressed(unfinished, rgba=pictures, **columns)
        unfinished.replace(out)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tarball, 74 MB, and the artwork, 6 MB")
    try:
        print(fetch(parser.parse_args().work))
    except FetchError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
