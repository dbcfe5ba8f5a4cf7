"""Hostile, broken and honest files, through the same steps as an upload but in one process."""

import pytest

from app.errors import RejectedUpload, UnsupportedFormat
from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetOptions
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import read
from tests.hostile_files import CORPUS, HostileFile, hostile_file, hostile_files

# File, and what the refusal must say.
REFUSED = {
    "c02_strings.csv": "line 26, column 'a': 'x' is not a finite number",
    "c06_utf16.csv": "UTF-16",
    "c07_header_only.csv": "0 rows",
    "c08_dup_columns.csv": "two columns are called 'a'",
    "c09_gzip_named.csv": "gzip-compressed",
    "c11_wide.csv": "40000 columns",
    "c13_overflow_numbers.csv": "'1e999' is not a finite number",
    "d01_pickle.npz": "'y.npy' holds values of type '|O'",
    "d02_pickle.npy": "a single NumPy array",
    "d03_raw_pickle_named.npy": "a Python pickle",
    "d06_huge_header.npy": "a single NumPy array",
    "d07_declares_64gib.npz": "declares 68719476736 bytes of values but stores 0",
    "d08_negative_shape.npy": "a single NumPy array",
    "d09_header_code.npy": "a single NumPy array",
    "d11_zip_slip.npz": "unsafe name",
    "d17_rows_mismatch.npz": "x has 24, y has 23",
    "d19_one_sample.npz": "1 rows would be trained on",
    "d20_strings.npz": "'x.npy' holds values of type '<U1'",
    "d22_structured.npz": "'x.npy' holds values of type [('a', '<f4'), ('b', '<i4')]",
    "d26_unknown_keys.npz": "no array x",
    "d27_dup_entries.npz": "'x.npy' twice",
    "d30_encrypted.npz": "encrypted",
    "d37_subarray_dtype.npz": "'x.npy' holds values of type ('<f4', (1<<28,))",
    "h02_external_storage.h5": "keeps its values in another file",
    "h05_weights_only.h5": "weights but no model",
    "h08_config_type.h5": "model_config is not a text",
    "h09_unknown_class.h5": "'os.system'",
    "h10_plugin_filter.h5": "weights but no model",
    "h11_keras_named_h5.h5": "named as an HDF5 file, but its content is a Keras archive",
    "h12_h5_named_keras.keras": "named as a Keras archive, but its content is an HDF5 file",
    "h13_lambda_keras2.h5": "Lambda (layer 'lam')",
    "k01_lambda_marshal.keras": "Lambda (layer 'lam')",
    "k02_module_os_system.keras": "Lambda (layer 'lam')",
    "k04_get_file_gadget.keras": "Lambda (layer 'g')",
    "k08_torchmodulewrapper.keras": "'keras.layers.TorchModuleWrapper'",
    "k09_stringlookup_path.keras": "vocabulary not in the model's configuration but elsewhere",
    "k11_h5_external_link.keras": "a link at 'layers/dense/vars/0'",
    "k14_h5_shape_bomb.keras": "declares 4398046511104 bytes but stores 0",
    "k16_h5_gzip_bomb.keras": "declares 256000000 bytes but stores 248928",
    "k17_zip_bomb_config.keras": "would unpack to 300",
    "k18_zip_slip.keras": "unsafe name",
    "k19_dup_config.keras": "'config.json' twice",
    "k20_huge_units.keras": "declares units=1000000000, but the file stores 15",
    "k21_units_overflow.keras": "declares units=9223372036854775808",
    "k23_many_layers.keras": "layers",
    "k24_nan_units.keras": "has units=nan; a whole number belongs there",
    "k28_missing_weights_file.keras": "lacks model.weights.h5",
    "k30_compile_os.keras": "names the function 'os.abort'",
    "k31_log_injection_name.keras": "a layer is called 'd\\n2024",
    "k32_name_traversal.keras": "a layer is called '../",
    "k33_html_name.keras": "a layer is called '<img",
    "k34_unicode_name.keras": "a layer is called 'schicht_",
    "k35_truncated.keras": "damaged or cut off",
    "k37_text.keras": "its content is text",
    "k38_encrypted.keras": "encrypted",
    "k42_config_bad_utf8.keras": "config.json is not UTF-8",
    "k45_tensor_bomb.keras": "Lambda (layer 'l')",
    "m11_nan_weights.keras": "12 of 12 values of the weight 'layers/dense/vars/0' are NaN",
    "q01_truncated.parquet": "cut off: it does not end with its footer",
    "q02_footer_len.parquet": "says that its footer has 4294967280 bytes; the whole file has 52",
    "q03_garbage_footer.parquet": "the Parquet file is damaged",
    "s01_readfile.zip": "the operator 'ReadFile' is not allowed (node 'ReadFile' in the graph)",
    "s02_writefile.zip": "the operator 'WriteFile' is not allowed (node 'WriteFile' in the graph)",
    "s03_writefile_at_load.zip": "the operator 'WriteFile' is not allowed",
    "s04_printv2_file.zip": "the operator 'PrintV2' is not allowed (node 'PrintV2' in the graph)",
    "s05_savev2.zip": "the operator 'SaveV2' is not allowed (node 'SaveV2' in the graph)",
    "s11_pyfunc.zip": "the operator 'PyFunc' is not allowed (node 'PyFunc' in the graph)",
    "s13_truncated_pb.zip": "damaged at saved_model.pb: it is cut off",
    "s14_empty_pb.zip": "has 0 graphs where one is allowed",
    "s15_corrupt_pb.zip": "damaged at meta graph",
    "s16_two_graphs.zip": "has 2 graphs where one is allowed",
    "s19_hidden_in_function.zip": "(node 'WriteFile' in function '__inference_<lambda>_126')",
    "t01_empty.tflite": "empty",
    "t04_root_offset.tflite": "an offset in it leads nowhere",
    "t06_huge_shape.tflite": "tensor 'x' has the shape",
    "t08_buffer_index_oob.tflite": "buffer 4000",
    "t09_flex_custom_op.tflite": "custom operator 'FlexWriteFile'",
    "t10_opcode_index_oob.tflite": "code number 77",
    "t11_short_buffer.tflite": "needs 48 bytes; 4 are stored",
    "t13_no_io.tflite": "no inputs or no outputs",
    "t15_recursive_subgraph.tflite": "WHILE in subgraph 0 calls subgraph 0",
    "t17_bitflips.tflite": "an offset in it leads nowhere",
    "z01_zip_slip.zip": "unsafe name",
    "z02_absolute.zip": "unsafe name",
    "z03_symlink.zip": "a link: 'variables'",
    "z04_symlink_read.zip": "a link: 'saved_model.pb'",
    "z05_backslash.zip": "unsafe name",
    "z06_many_entries.zip": "more than 1000 files",
    "z07_deep_path.zip": "too long or deep",
    "z11_case_collision.zip": "twice",
    "z14_long_name.zip": "too long or deep",
    "z16_control_names.zip": "unsafe name",
}
# Nothing is wrong with them until a model is to be trained on them.
REFUSED_WITH_A_JOB = frozenset({"d16_label_float.npz", "d25_missing_y.npz"})
READY = (
    "c04_formula.csv",
    "c12_bom_crlf.csv",
    "d16_label_float.npz",
    "d25_missing_y.npz",
    "d32_float64_big_endian_fortran.npz",
    "d34_constant_class.npz",
    # Weights that do not fit the configuration are found by building the model, which a job does.
    "k29_weight_shape_mismatch.keras",
    "k47_conv_flops.keras",
    "m01_ok.keras",
    "m02_multi_output.keras",
    "m03_multi_input.keras",
    "m05_gru.keras",
    "m07_dynamic_shape.keras",
    "m08_shared_layer.keras",
    "m09_nested.keras",
    "s00_ok.zip",
    # How much memory or time a graph takes shows when it runs: a job's limits are for that.
    "s09_alloc_bomb.zip",
    "s10_infinite_loop.zip",
    "t00_ok.tflite",
    # That a loop never ends shows when it runs: the time limit of a job is for that.
    "t14_infinite_while.tflite",
    "t20_log_injection.tflite",
)


def inspect(name: str) -> Inspection:
    """What the door makes of a file of the corpus.

    Raises: what the door raises.
    """
    path = CORPUS / name
    kind = UploadKind.DATASET if hostile_file(name).is_dataset else UploadKind.MODEL
    order = InspectionOrder(
        format=recognize(path, kind, name),
        options=DatasetOptions(),
    )
    with path.open("rb") as file:
        return read(order, file)


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_door_refuses_with_the_reason(name: str, why: str) -> None:
    with pytest.raises((RejectedUpload, UnsupportedFormat)) as caught:
        inspect(name)
    assert why in caught.value.detail


@pytest.mark.parametrize("name", READY)
def test_door_takes_what_is_honest(name: str) -> None:
    inspection = inspect(name)
    assert (inspection.model is None) != (inspection.dataset is None)


def test_corpus_is_covered_to_the_last_file() -> None:
    assert {file.name for file in hostile_files()} == REFUSED.keys() | set(READY)


@pytest.mark.parametrize("file", hostile_files(), ids=lambda file: file.name)
def test_verdict_is_what_the_manifest_asks_for(file: HostileFile) -> None:
    """What is refused with a job's validation is let in here (see `test_corpus.py` of the API)."""
    allowed = {
        "ok": {"ready"},
        "4xx": {"refused"},
        "ok_or_4xx": {"ready", "refused"},
        "fail_clean": {"ready"},
    }[file.expect]
    verdict = "refused" if file.name in REFUSED else "ready"
    assert verdict in allowed or file.name in REFUSED_WITH_A_JOB


def test_door_reads_a_classifier() -> None:
    model = inspect("m01_ok.keras").model
    assert model is not None
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("in", (4,))]
    assert [(head.output, head.activation, head.units) for head in model.heads] == [
        ("o", "softmax", 3)
    ]
    assert [(each.name, each.class_name, each.parameter_count) for each in model.layers] == [
        ("in", "InputLayer", 0),
        ("o", "Dense", 15),
    ]
    assert (model.parameter_count, model.keras_version) == (15, "3.15.1")


def test_door_counts_the_weights_of_nested_models_layer_by_layer() -> None:
    model = inspect("m09_nested.keras").model
    assert model is not None
    counts = {each.name: each.parameter_count for each in model.layers}
    assert counts == {"in": 0, "input_layer": 0, "x": 20, "o": 15}


def test_door_counts_a_shared_layer_once() -> None:
    model = inspect("m08_shared_layer.keras").model
    assert model is not None
    assert model.parameter_count == 20


def test_door_sees_recurrence() -> None:
    model = inspect("m05_gru.keras").model
    assert model is not None
    assert model.is_recurrent


def test_door_leaves_lengths_open_that_the_model_leaves_open() -> None:
    model = inspect("m07_dynamic_shape.keras").model
    assert model is not None
    assert model.inputs[0].shape == (None, None, 3)


def test_door_reads_a_tflite_model() -> None:
    model = inspect("t00_ok.tflite").model
    assert model is not None
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("x", (4,))]
    assert (model.parameter_count, model.is_quantized) == (12, False)


def test_door_reads_big_endian_fortran_arrays() -> None:
    dataset = inspect("d32_float64_big_endian_fortran.npz").dataset
    assert dataset is not None
    assert (dataset.train_rows, dataset.test_rows, dataset.is_split_here) == (19, 5, True)
    assert dataset.inputs[0].minimum == pytest.approx(-2.55299)
    assert (dataset.labels[0].encoding, dataset.labels[0].class_count) == ("integer", 3)


def test_door_takes_data_without_labels_and_says_so() -> None:
    dataset = inspect("d25_missing_y.npz").dataset
    assert dataset is not None
    assert dataset.labels == ()
    assert any("no labels" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("d16_label_float.npz", "output 'o' ends in softmax.* but the labels are real numbers"),
        ("d25_missing_y.npz", "the data set has no labels"),
    ],
)
def test_job_with_a_classifier_is_refused_where_the_labels_are_none(name: str, why: str) -> None:
    model, data = inspect("m01_ok.keras").model, inspect(name).dataset
    assert model is not None
    recipe = Recipe.model_validate({"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]})
    with pytest.raises(ImpossibleRecipe, match=why) as caught:
        check(recipe, ("keras",), Given(model, data), Constraints.model_validate({}))
    assert [each.pointer for each in caught.value.errors] == ["/dataset_id"]


def test_door_fills_in_the_label_column_and_says_so() -> None:
    inspection = inspect("c12_bom_crlf.csv")
    assert inspection.options is not None
    assert inspection.options.label == "label"
    assert inspection.dataset is not None
    assert any("'label', the last" in note for note in inspection.dataset.notes)
