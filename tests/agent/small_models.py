"""Tiny .tflite detectors made by hand, and pictures that they see something in.

One level of stride 16 with two anchors and three classes (red, green, blue): a cell is an object
where it is bright, and its class is its colour.
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from targets.agent.boxes import Head, Level

STRIDE = 16
IMGSZ = (64, 96)
NAMES = ("red", "green", "blue")
ANCHORS = ((16.0, 16.0), (40.0, 12.0))
OUTPUT_SCALE = 0.1
HEAD = Head("levels", NAMES, (Level(STRIDE, ANCHORS, "boxes_16", "objectness_16", "classes_16"),))
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
}
INPUT_SCALE = float(np.float32(1 / 255))


def filters() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> weights [O, 16, 16, 3] and bias [O]; each weight is spread over its cell."""
    cell = STRIDE * STRIDE
    boxes = np.zeros((8, STRIDE, STRIDE, 3))
    boxes[2, :, :, 0] = 0.1 / cell  # a little wider where it is red
    objectness = np.full((2, STRIDE, STRIDE, 3), 8 / cell)
    classes = np.full((6, STRIDE, STRIDE, 3), -6 / cell)
    for anchor in range(2):
        for colour in range(3):
            classes[anchor * 3 + colour, :, :, colour] = 10 / cell
    return {
        "boxes_16": (boxes, np.zeros(8)),
        "objectness_16": (objectness, np.array([-4.0, -6.0])),
        "classes_16": (classes, np.full(6, -3.0)),
    }


class _Builder:
    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"a small detector"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, name, shape, kind, *, scale=0.0, zero_point=0, data=None, signature=None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), TYPES[kind]
        tensor.buffer = 0
        if signature is not None:
            tensor.shapeSignature = list(signature)
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([scale], np.float32)
            tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, code, inputs, outputs, options_type=0, options=None, version=1, custom=None):
        kinds = [(item.builtinCode, item.customCode) for item in self.model.operatorCodes]
        if (code, custom) not in kinds:
            opcode = schema.OperatorCodeT()
            opcode.builtinCode = code
            opcode.deprecatedBuiltinCode = min(code, 127)
            opcode.customCode, opcode.version = custom, version
            self.model.operatorCodes.append(opcode)
            kinds.append((code, custom))
        operator = schema.OperatorT()
        operator.opcodeIndex = kinds.index((code, custom))
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.graph.operators.append(operator)

    def conv(self, source, weights, bias, output, stride=STRIDE):
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.padding = schema.Padding.VALID
        self.operator(
            schema.BuiltinOperator.CONV_2D, [source, weights, bias], [output],
            schema.BuiltinOptions.Conv2DOptions, options, version=3,
        )  # fmt: skip

    def finish(self, inputs, outputs) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def float_detector(imgsz: tuple[int, int] = IMGSZ, *, open_size: bool = False) -> bytes:
    """Float weights and ends."""
    builder = _Builder()
    signature = (1, -1, -1, 3) if open_size else None
    shape = (1, 1, 1, 3) if open_size else (1, *imgsz, 3)
    source = builder.tensor("images", shape, "float32", signature=signature)
    cells = (1, imgsz[0] // STRIDE, imgsz[1] // STRIDE)
    outputs = []
    for name, (weights, bias) in filters().items():
        kernel = builder.tensor(
            name + "/w", weights.shape, "float32", data=weights.astype(np.float32)
        )
        offset = builder.tensor(name + "/b", bias.shape, "float32", data=bias.astype(np.float32))
        outputs.append(builder.tensor(name, (*cells, len(bias)), "float32"))
        builder.conv(source, kernel, offset, outputs[-1])
    return builder.finish([source], outputs)


def int8_detector(ends: str = "int8") -> bytes:
    """int8 inside; inputs and outputs of type `ends`: float32, int8 or uint8."""
    builder, cells = _Builder(), (1, IMGSZ[0] // STRIDE, IMGSZ[1] // STRIDE)
    quantize, dequantize = schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE
    inner_in = "images" if ends == "int8" else "images/int8"
    inside = builder.tensor(inner_in, (1, *IMGSZ, 3), "int8", scale=INPUT_SCALE, zero_point=-128)
    source = inside
    if ends != "int8":
        scale = {"uint8": INPUT_SCALE, "float32": 0.0}[ends]
        source = builder.tensor("images", (1, *IMGSZ, 3), ends, scale=scale)
        builder.operator(quantize, [source], [inside])
    outputs = []
    for name, (weights, bias) in filters().items():
        step = float(np.float32(np.abs(weights).max() / 127))
        codes = np.rint(weights / step).astype(np.int8)
        kernel = builder.tensor(name + "/w", codes.shape, "int8", scale=step, data=codes)
        sums = np.rint(bias / (step * INPUT_SCALE)).astype(np.int32)
        offset = builder.tensor(
            name + "/b", sums.shape, "int32", scale=step * INPUT_SCALE, data=sums
        )
        shape = (*cells, len(bias))
        inner = name if ends == "int8" else name + "/int8"
        result = builder.tensor(inner, shape, "int8", scale=OUTPUT_SCALE)
        builder.conv(inside, kernel, offset, result)
        if ends == "uint8":
            output = builder.tensor(name, shape, "uint8", scale=OUTPUT_SCALE, zero_point=128)
            builder.operator(quantize, [result], [output])
            result = output
        elif ends == "float32":
            output = builder.tensor(name, shape, "float32")
            builder.operator(dequantize, [result], [output], version=2)
            result = output
        outputs.append(result)
    return builder.finish([source], outputs)


def unknown_operator() -> bytes:
    """A model that every stock runtime refuses."""
    builder = _Builder()
    source = builder.tensor("images", (1, *IMGSZ, 3), "float32")
    output = builder.tensor("out", (1, 4), "float32")
    builder.operator(schema.BuiltinOperator.CUSTOM, [source], [output], custom=b"Unheard_Of")
    return builder.finish([source], [output])


def no_picture() -> bytes:
    """A model of two vectors, added."""
    builder = _Builder()
    first = builder.tensor("first", (1, 10), "float32")
    second = builder.tensor("second", (1, 10), "float32")
    total = builder.tensor("total", (1, 10), "float32")
    builder.operator(
        schema.BuiltinOperator.ADD, [first, second], [total],
        schema.BuiltinOptions.AddOptions, schema.AddOptionsT(),
    )  # fmt: skip
    return builder.finish([first, second], [total])


def coloured_cell(row: int, column: int, colour: int) -> np.ndarray:
    """A black picture of IMGSZ with one cell in full colour: uint8 [64, 96, 3]."""
    picture = np.zeros((*IMGSZ, 3), np.uint8)
    picture[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16, colour] = 255
    return picture


def save_picture(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture).save(path, "PNG")
    return path
