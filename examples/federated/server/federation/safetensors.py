"""Files of safetensors with 32-bit floats: a length, a header in JSON, the numbers."""

import json
import struct
from pathlib import Path

import numpy as np


def read(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file, by name, and what it says beside them."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    start = 8 + length
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            if entry["dtype"] != "F32":
                raise ValueError(f"{name} is {entry['dtype']}, and has to be F32.")
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[start + begin : start + end], dtype="<f4")
            tensors[name] = values.reshape(entry["shape"])
    return tensors, header.get("__metadata__", {})


def write(path: str, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes tensors under their names."""
    header, offset = {"__metadata__": metadata}, 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    numbers = b"".join(np.ascontiguousarray(values, dtype="<f4").tobytes() for values in tensors.values())
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + numbers)
