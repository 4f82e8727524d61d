"""Write the bundled weights as 16-bit numbers, for a llama.cpp server that computes faster with them.

    python benchmarks/half_precision.py FILE.gguf
    llama-server --model FILE.gguf --port 9050 --ctx-size 32768 --parallel 4 --threads 2 --threads-batch 2 --cache-ram 8192

Needs the package `gguf`, which is none of the project's dependencies. Each block of Q4_1 holds 32 numbers of four bits with
a scale and an offset; here stands what they come to, rounded to half precision (one part in 2,000), and nothing is quantised
anew. llama.cpp has no fast multiplication for Q4_1: compiled for a machine with AVX-512 it reads 540 tokens a second of
these on two cores, and 280 of the original.
"""

import sys
from pathlib import Path

import gguf  # type: ignore[import-not-found]  # no dependency of the project
import numpy as np

from optimizer.models import ModelSpec
from optimizer.models.embedded import BUNDLED, weights_of

# `general.file_type` of a file whose matrices are half precision.
_MOSTLY_F16 = 1


def main() -> None:
    """Convert."""
    source = weights_of(ModelSpec(provider="embedded", name=BUNDLED))
    if source is None or len(sys.argv) != 2:  # the script and one file
        sys.exit(__doc__)
    read, half = gguf.GGUFReader(source), gguf.GGMLQuantizationType.F16
    written = gguf.GGUFWriter(Path(sys.argv[1]), read.fields["general.architecture"].contents())
    for name, field in read.fields.items():
        value = _MOSTLY_F16 if name == "general.file_type" else field.contents()
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            written.add_array(name, value)
        else:
            written.add_key_value(name, value, field.types[0])
    for tensor in read.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        whole = tensor.tensor_type == gguf.GGMLQuantizationType.F32
        written.add_tensor(
            tensor.name, values if whole else values.astype(np.float16), raw_dtype=None if whole else half
        )
    written.write_header_to_file()
    written.write_kv_data_to_file()
    written.write_tensors_to_file()
    written.close()


if __name__ == "__main__":
    main()
