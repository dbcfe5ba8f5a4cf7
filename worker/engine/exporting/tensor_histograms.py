"""Which values the tensors of a float tflite file take on a sample."""

from collections import defaultdict
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from worker.engine.exporting.tflite import Rows
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.calibration.histogram import Histogram
from worker.engine.quantizing.calibration.observing import ROWS_AT_ONCE


def tensor_histograms(content: bytes, signature_key: str, rows: Rows) -> dict[str, Histogram]:
    """A histogram of every real-valued tensor that is no constant, by name.

    rows: signature input name -> [n, ...]; they are run one by one, for the file may have a fixed
    batch, and counted in batches as everywhere else.
    """
    # Delegates keep their tensors to themselves.
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    run = interpreter.get_signature_runner(signature_key)
    wanted = _made_by_operators(content)
    histograms: dict[str, Histogram] = defaultdict(Histogram)
    batch: dict[str, list[NDArray[Any]]] = defaultdict(list)
    count = len(next(iter(rows.values())))
    for row in range(count):
        run(**{name: array[row : row + 1] for name, array in rows.items()})
        for detail in interpreter.get_tensor_details():
            if detail["name"] in wanted and detail["dtype"] is np.float32:
                batch[detail["name"]].append(interpreter.get_tensor(detail["index"]).ravel())
        if (row + 1) % ROWS_AT_ONCE == 0 or row + 1 == count:
            for name, parts in batch.items():
                histograms[name].add(np.concatenate(parts))
            batch.clear()
    return dict(histograms)


def _made_by_operators(content: bytes) -> frozenset[str]:
    file = read_tflite(content)
    made = {tensor.name for operator in file.operators for tensor in operator.outputs}
    return frozenset(made | {port.tensor.name for port in file.inputs})
