"""Changes records of a valid blob, so that readers meet what no writer makes."""

import zlib

import numpy as np

from csc_convert import blob_format as fmt
from csc_convert import blob_writer as writer
from csc_convert.oracle import read_blob


class Editor:
    """A valid blob whose records can be changed; ``done`` makes the checksums right again."""

    def __init__(self, data: bytes) -> None:
        """Views of the records of a blob."""
        self.data = bytearray(data)
        self.header = np.frombuffer(self.data, fmt.HEADER, 1)
        count = int(self.header[0]["section_count"])
        self.sections = np.frombuffer(self.data, fmt.SECTION, count, 64)
        self.offsets = [int(s["offset"]) for s in self.sections]
        self.ops = np.frombuffer(self.data, fmt.OP, self.header[0]["op_count"], self.offsets[0])
        count = self.header[0]["tensor_count"]
        self.tensors = np.frombuffer(self.data, fmt.TENSOR, count, self.offsets[1])
        if self.header[0]["entry_count"]:
            count = self.header[0]["entry_count"]
            self.entries = np.frombuffer(self.data, fmt.ENTRY, count, self.offsets[-1])
        model = read_blob(data)
        self.tensor_numbers = {t.name: t.index for t in model.tensors}
        self.op_numbers = {op.name: op.index for op in model.ops}

    def tensor(self, tensor: str, /, **fields: object) -> np.void:
        """Set fields of a tensor record, return it."""
        record = self.tensors[self.tensor_numbers[tensor]]
        for field, value in fields.items():
            record[field] = value
        return record

    def shape(self, name: str, *dims: int) -> None:
        """Give a tensor another shape, stride and size."""
        record = self.tensor(name, rank=len(dims), dims=(*dims, *[1] * (4 - len(dims))))
        if record["storage"] == fmt.Storage.WEIGHTS:
            stride = int(np.prod(dims[1:]))
        else:
            stride = 1 if len(dims) == 1 else writer.up8(dims[1])
        size = writer.NUMPY_DTYPES[fmt.Dtype(record["dtype"])].itemsize
        record["row_stride"], record["bytes"] = stride, dims[0] * stride * size

    def op(self, op: str, /, **fields: object) -> np.void:
        """Set fields of an op record, return it."""
        record = self.ops[self.op_numbers[op]]
        for field, value in fields.items():
            record[field] = value
        return record

    def operand(self, op: str, operand: str, tensor: str | int | None) -> None:
        """Set an operand to a tensor by name or number, or to NONE."""
        record = self.ops[self.op_numbers[op]]
        place = fmt.OPERANDS[fmt.Op(record["kind"])].index(operand)
        number = self.tensor_numbers[tensor] if isinstance(tensor, str) else tensor
        record["operand"][place] = fmt.NONE if number is None else number

    def param(self, op: str, name: str, value: int) -> None:
        """Set a parameter."""
        record = self.ops[self.op_numbers[op]]
        record["param"][fmt.PARAMS[fmt.Op(record["kind"])].index(name)] = value

    def weights(self, name: str) -> np.ndarray:
        """The elements of a weights tensor, in place."""
        record = self.tensor(name)
        dims = record["dims"][: record["rank"]]
        dtype = writer.NUMPY_DTYPES[fmt.Dtype(record["dtype"])]
        start = self.offsets[4] + int(record["offset"])
        return np.frombuffer(self.data, dtype, int(np.prod(dims)), start).reshape(dims)

    def done(self) -> bytes:
        """The bytes, with the checksums of the original places."""
        for section, start in zip(self.sections, self.offsets, strict=True):
            end = start + int(section["bytes"])
            section["crc"] = zlib.crc32(self.data[start:end])
        self.header[0]["header_crc"] = 0
        self.header[0]["header_crc"] = zlib.crc32(self.data[:192])
        return bytes(self.data)


def same_place(editor: Editor, name: str, other: str, shift: int = 0) -> None:
    """Move an arena tensor to the place of another."""
    editor.tensor(name, offset=editor.tensor(other)["offset"] + shift)


def set_item(array: np.ndarray, index: object, value: int) -> None:
    """array[index] = value, as an expression."""
    array[index] = value
