#!/usr/bin/env python3
"""Writes tests/fixtures/resize.json: random pictures and what Pillow's BILINEAR makes of them, with antialiasing as
torchvision's Resize, and their middle square as its Resize and CenterCrop cut it. Needs pip's pillow."""

import json
import pathlib
import random

from PIL import Image

SIZES = [(1, 1), (3, 7), (7, 3), (17, 5), (16, 16), (40, 23)]
TARGETS = [(1, 1), (3, 3), (5, 8), (17, 7), (31, 30)]
SQUARES = [1, 3, 8, 17]


def numbers(image):
    return list(image.tobytes())


def middle(image, size):
    width, height = image.size
    shorter = min(width, height)
    scaled = [size if side == shorter else size * side // shorter for side in (width, height)]
    image = image.resize(scaled, Image.BILINEAR)
    left, top = (round((side - size) / 2) for side in scaled)
    return image.crop((left, top, left + size, top + size))


def main():
    random.seed(1)
    pictures = []
    for height, width in SIZES:
        image = Image.frombytes("RGB", (width, height), bytes(random.randrange(256) for _ in range(3 * height * width)))
        pictures.append({
            "height": height, "width": width, "pixels": numbers(image),
            "resized": [{"height": h, "width": w, "pixels": numbers(image.resize((w, h), Image.BILINEAR))}
                        for h, w in TARGETS],
            "squares": [{"size": size, "pixels": numbers(middle(image, size))} for size in SQUARES],
        })
    path = pathlib.Path(__file__).resolve().parents[1] / "tests/fixtures/resize.json"
    path.write_text(json.dumps(pictures, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
