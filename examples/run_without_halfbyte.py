"""Objects on a photo by a model of halfbyte's, without halfbyte.  Packed ones: expand them first.

    halfbyte expand yolov7-640x640-w4e-a8.tflite -o model.tflite
    python run_without_halfbyte.py model.tflite photo.jpg

Needs numpy, Pillow, and ai-edge-litert (or tflite-runtime: change its name in the import).
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

path, photo = sys.argv[1:]
about = json.loads(re.search(rb'\{"family".*?"version":\d+\}', Path(path).read_bytes())[0])
height, width = about["imgsz"]
detect = Interpreter(path).get_signature_runner("detect")
picture = Image.open(photo).convert("RGB")
pixels = np.asarray(ImageOps.pad(picture, (width, height), color="#727272"))
raw = detect(images=(pixels[None] ^ 0x80).view(np.int8))  # a float model: pixels / 255

found = []
for level in about["head"]["levels"]:
    kinds, count = [], len(level["anchors"])
    for kind in ("boxes", "objectness", "classes"):
        scale, zero_point = detect.get_output_details()[level[kind]]["quantization"]
        values = (raw[level[kind]][0].astype(float) - zero_point) * scale
        kinds.append(1 / (1 + np.exp(-values.reshape(*values.shape[:2], count, -1))))
    boxes, scores = kinds[0], kinds[1] * kinds[2]
    for y, x, anchor, label in np.argwhere(scores > 0.25):
        across, down, wide, high = boxes[y, x, anchor] * 2
        centre = (np.array([across, down]) - 0.5 + [x, y]) * level["stride"]
        half = np.array([wide, high]) ** 2 * level["anchors"][anchor] / 2
        found.append((scores[y, x, anchor, label], label, *(centre - half), *(centre + half)))

kept = []
for score, label, *box in sorted(found, reverse=True):
    corners = np.array([other[1:] for other in kept if other[0] == label] or [[0.0] * 4])
    sides = np.minimum(corners[:, 2:], box[2:]) - np.maximum(corners[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(1)
    area = (corners[:, 2:] - corners[:, :2]).prod(1) + (box[2] - box[0]) * (box[3] - box[1])
    if (shared / (area - shared) < 0.65).all():
        kept.append((label, *box))
        print(about["head"]["names"][label], round(score, 2), [round(value) for value in box])
