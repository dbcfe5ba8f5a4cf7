"""Reads `.parquet` data sets: columns of numbers; the label is one of them."""

from typing import BinaryIO

from app.datafiles.columns import label_column, label_note
from app.datafiles.parquet_table import ParquetTable, open_parquet
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector.arrays import Labels, Range
from app.uploads.inspector.splits import divided, set_aside_note
from app.uploads.refusals import refusing


def read_parquet(file: BinaryIO, options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    """What the table holds, and the options with the label column filled in.

    Raises: RejectedUpload naming column and row.
    """
    with refusing():
        return _read(open_parquet(file), options)


def _read(table: ParquetTable, options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    rows = divided(table.rows, options.test_fraction)
    label = label_column(table.columns, options.label)
    names = [name for name in table.columns if name != label]
    labels, features = Labels(), Range()
    for block in table.blocks([label]):
        labels.add(block.values[:, 0])
    for block in table.blocks(names):
        features.add(block.values)
    facts = DatasetFacts(
        format="parquet",
        train_rows=rows.train,
        test_rows=rows.test,
        is_split_here=True,
        inputs=(features.as_input(None, (len(names),), table.common_type(names).name),),
        # Its type tells classes from values, as in .npz.
        labels=(labels.as_labels(None, (), table.types[label]),),
        notes=(set_aside_note(rows), label_note(table.columns, options.label), *table.notes),
    )
    return facts, options.model_copy(update={"label": label})
