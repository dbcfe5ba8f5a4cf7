"""The messages a SavedModel is written in, as far as they are read here: fields by number.

They follow tensorflow/core/protobuf and tensorflow/core/framework as of TensorFlow 2.21. What is
listed and never asked for is what TensorFlow writes and nothing here depends on. What is not listed
is refused, so a field that a later version gives a meaning cannot pass unseen.
"""

from app.uploads.inspector.saved_model.wire import Kind, Schema, Spec

NUMBER, BYTES, FIXED32, FIXED64 = Kind.NUMBER, Kind.BYTES, Kind.FIXED32, Kind.FIXED64


def _many(name: str, kind: Kind = BYTES) -> Spec:
    return Spec(name, kind, is_repeated=True)


MAP: Schema = {1: Spec("key", BYTES), 2: Spec("value", BYTES)}

SAVED_MODEL: Schema = {1: Spec("schema_version", NUMBER), 2: _many("meta_graphs")}
META_GRAPH: Schema = {
    1: Spec("meta_info", BYTES),
    2: Spec("graph", BYTES),
    3: Spec("saver", BYTES),
    4: _many("collections"),
    5: _many("signatures"),
    6: _many("assets"),
    7: Spec("objects", BYTES),
}
# Number 3, `any_info`, is left out: it may hold any message, and nobody writes it.
META_INFO: Schema = {
    1: Spec("version", BYTES),
    2: Spec("stripped_op_list", BYTES),
    4: _many("tags"),
    5: Spec("tensorflow_version", BYTES),
    6: Spec("tensorflow_git_version", BYTES),
    7: Spec("stripped_default_attrs", NUMBER),
    8: _many("function_aliases"),
}
SAVER: Schema = {
    1: Spec("filename_tensor", BYTES),
    2: Spec("save_tensor", BYTES),
    3: Spec("restore_operator", BYTES),
    4: Spec("max_to_keep", NUMBER),
    5: Spec("sharded", NUMBER),
    6: Spec("keep_checkpoint_every_n_hours", FIXED32),
    7: Spec("version", NUMBER),
}
COLLECTION: Schema = {1: Spec("node_list", BYTES)}
NODE_LIST: Schema = {1: _many("names")}

# Number 4, `defaults`, is left out: what is not given to a signature would come out of the file.
SIGNATURE: Schema = {1: _many("inputs"), 2: _many("outputs"), 3: Spec("method_name", BYTES)}
# Sparse and composite tensors are left out.
TENSOR_INFO: Schema = {
    1: Spec("name", BYTES),
    2: Spec("dtype", NUMBER),
    3: Spec("shape", BYTES),
}

GRAPH: Schema = {
    1: _many("nodes"),
    2: Spec("library", BYTES),
    3: Spec("version", NUMBER),
    4: Spec("versions", BYTES),
    5: Spec("debug_info", BYTES),
}
LIBRARY: Schema = {
    1: _many("functions"),
    2: _many("gradients"),
    3: _many("registered_gradients"),
}
GRADIENT: Schema = {1: Spec("function", BYTES), 2: Spec("gradient", BYTES)}
REGISTERED_GRADIENT: Schema = {1: Spec("function", BYTES), 2: Spec("operator", BYTES)}
FUNCTION: Schema = {
    1: Spec("signature", BYTES),
    3: _many("nodes"),
    4: _many("results"),
    5: _many("attributes"),
    6: _many("control_results"),
    7: _many("argument_attributes"),
    8: _many("resource_argument_ids"),
}
ARGUMENT_ATTRIBUTES: Schema = {1: Spec("argument", NUMBER), 2: Spec("value", BYTES)}
ATTRIBUTES: Schema = {1: _many("attributes")}
FUNCTION_SIGNATURE: Schema = {
    1: Spec("name", BYTES),
    2: _many("inputs"),
    3: _many("outputs"),
    4: _many("attributes"),
    5: Spec("summary", BYTES),
    6: Spec("description", BYTES),
    8: Spec("deprecation", BYTES),
    16: Spec("is_aggregate", NUMBER),
    17: Spec("is_stateful", NUMBER),
    18: Spec("is_commutative", NUMBER),
    19: Spec("allows_uninitialized_input", NUMBER),
    20: _many("control_outputs"),
    21: Spec("is_distributed_communication", NUMBER),
}
ARGUMENT: Schema = {
    1: Spec("name", BYTES),
    2: Spec("description", BYTES),
    3: Spec("type", NUMBER),
    4: Spec("type_attribute", BYTES),
    5: Spec("number_attribute", BYTES),
    6: Spec("type_list_attribute", BYTES),
    7: _many("handle_data"),
    16: Spec("is_ref", NUMBER),
    17: Spec("full_type", BYTES),
}
NODE: Schema = {
    1: Spec("name", BYTES),
    2: Spec("operator", BYTES),
    3: _many("inputs"),
    4: Spec("device", BYTES),
    5: _many("attributes"),
    6: Spec("debug_info", BYTES),
    7: Spec("full_type", BYTES),
}
# Number 9, `placeholder`, is left out: it stands for a value that the caller of a function gives.
ATTRIBUTE: Schema = {
    1: Spec("list", BYTES),
    2: Spec("bytes", BYTES),
    3: Spec("int", NUMBER),
    4: Spec("float", FIXED32),
    5: Spec("bool", NUMBER),
    6: Spec("type", NUMBER),
    7: Spec("shape", BYTES),
    8: Spec("tensor", BYTES),
    10: Spec("function", BYTES),
}
LIST: Schema = {
    2: _many("bytes"),
    3: _many("int", NUMBER),
    4: _many("float", FIXED32),
    5: _many("bool", NUMBER),
    6: _many("type", NUMBER),
    7: _many("shape"),
    8: _many("tensor"),
    9: _many("function"),
}
# Number 2, values for the attributes of the function's nodes, is left out: there are none to fill.
FUNCTION_NAME: Schema = {1: Spec("name", BYTES)}

# Resources and variants (14, 15) are left out: a constant is numbers or text.
TENSOR: Schema = {
    1: Spec("dtype", NUMBER),
    2: Spec("shape", BYTES),
    3: Spec("version", NUMBER),
    4: Spec("content", BYTES),
    5: _many("float32", FIXED32),
    6: _many("float64", FIXED64),
    7: _many("int", NUMBER),
    8: _many("string"),
    9: _many("complex64", FIXED32),
    10: _many("int64", NUMBER),
    11: _many("bool", NUMBER),
    12: _many("complex128", FIXED64),
    13: _many("half", NUMBER),
    16: _many("uint32", NUMBER),
    17: _many("uint64", NUMBER),
    18: Spec("float8", BYTES),
}
SHAPE: Schema = {2: _many("dimensions"), 3: Spec("is_unknown", NUMBER)}
DIMENSION: Schema = {1: Spec("size", NUMBER), 2: Spec("name", BYTES)}

# How a function is to be run, a text in an attribute. Left out is what picks optimizers by name.
CONFIGURATION: Schema = {
    1: _many("device_counts"),
    2: Spec("threads", NUMBER),
    5: Spec("threads_between", NUMBER),
    6: Spec("gpu", BYTES),
    7: Spec("may_move", NUMBER),
    8: Spec("log_placement", NUMBER),
    10: Spec("graph", BYTES),
    16: Spec("experimental", BYTES),
    18: Spec("other_devices", BYTES),
}
GRAPH_OPTIONS: Schema = {3: Spec("optimizer", BYTES)}

OBJECTS: Schema = {1: _many("objects"), 2: _many("functions")}
# What is left out of SAVED_OBJECT: assets (5), what a registered class makes of its own data
# (14, 16). Keras 2 registers its classes by name (13); nothing here loads by that name.
SAVED_OBJECT: Schema = {
    1: _many("children"),
    3: _many("slots"),
    4: Spec("plain", BYTES),
    6: Spec("function", BYTES),
    7: Spec("variable", BYTES),
    8: Spec("bare_function", BYTES),
    9: Spec("constant", BYTES),
    10: Spec("resource", BYTES),
    11: _many("saveables"),
    12: Spec("captured", BYTES),
    13: Spec("registered_name", BYTES),
    15: _many("dependencies"),
}
CHILD: Schema = {1: Spec("object", NUMBER), 2: Spec("name", BYTES)}
PLAIN_OBJECT: Schema = {
    1: Spec("kind", BYTES),
    2: Spec("version", BYTES),
    3: Spec("metadata", BYTES),
}
VARIABLE: Schema = {
    1: Spec("dtype", NUMBER),
    2: Spec("shape", BYTES),
    3: Spec("trainable", NUMBER),
    4: Spec("synchronization", NUMBER),
    5: Spec("aggregation", NUMBER),
    6: Spec("name", BYTES),
    7: Spec("device", BYTES),
}

RESOURCE: Schema = {1: Spec("device", BYTES)}
# How Python calls a function of the graph: as it was written, or one trace of it alone.
FUNCTION_OBJECT: Schema = {1: _many("functions"), 2: Spec("specification", BYTES)}
BARE_FUNCTION: Schema = {
    1: Spec("function", BYTES),
    2: _many("argument_names"),
    3: Spec("positional_arguments", NUMBER),
    4: Spec("specification", BYTES),
}
CAPTURED: Schema = {1: Spec("name", BYTES), 2: Spec("function", BYTES)}

BUNDLE_HEADER: Schema = {
    1: Spec("shards", NUMBER),
    2: Spec("endianness", NUMBER),
    3: Spec("version", BYTES),
}
# Number 7, parts of a variable that is stored in slices, is left out.
BUNDLE_ENTRY: Schema = {
    1: Spec("dtype", NUMBER),
    2: Spec("shape", BYTES),
    3: Spec("shard", NUMBER),
    4: Spec("offset", NUMBER),
    5: Spec("size", NUMBER),
    6: Spec("crc32c", FIXED32),
}
