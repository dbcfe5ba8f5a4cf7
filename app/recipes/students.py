"""Whether an uploaded model can take the place of the job's model as its student; pure."""

from collections.abc import Iterator, Mapping, Sequence

from app.errors import Complaint
from app.recipes.facts import Head, ModelFacts
from app.recipes.fit import model_complaints
from app.recipes.keras.ends import WEIGHTED

# What can be put at the end of an output, or taken off it, by changing its last layer.
REPLACEABLE = frozenset({"softmax", "sigmoid", "linear"})
WITH_ACTIVATION = WEIGHTED | {"Activation"}


# Layers without weights that change shapes or positions: outside a block none of them can go.
SHAPING = ("InputLayer", "Flatten", "Reshape", "Permute", "Pooling", "Padding", "Cropping")
MERGES = frozenset(
    {"Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"}
)


def reason_to_keep(path: str, model: ModelFacts) -> str | None:
    """Why a shallower student cannot do without a layer, as far as facts tell."""
    if path in {head.output for head in model.heads}:
        return "it is an output of the model"
    if MERGES & {layer.class_name for layer in model.layers}:
        return None
    for layer in model.layers:
        is_shaping = any(word in layer.class_name for word in SHAPING)
        if layer.name == path and layer.parameter_count == 0 and is_shaping:
            return f"a {layer.class_name} has no weights, and is in no block that could go"
    return None


def student_complaints(model: ModelFacts, student: ModelFacts, pointer: str) -> Iterator[Complaint]:
    """What keeps `student` from having the inputs and outputs of `model`."""
    found = tuple(model_complaints(model, student, pointer))
    yield from found
    if found:
        return
    for ours, theirs in paired(model, student):
        if ours.activation != theirs.activation and not _is_replaceable(ours, theirs, student):
            yield Complaint(
                pointer=pointer,
                detail=f"this model's output {theirs.output!r} ends in {theirs.activation}, that "
                f"of the job's model in {ours.activation}, and its last layer is none whose "
                "activation could be changed: build it with the activation of the job's model",
            )
    wanted = {spec.name: spec.dtype for spec in model.inputs}
    for spec in student.inputs:
        dtype = model.inputs[0].dtype if len(model.inputs) == 1 else wanted[spec.name]
        if spec.dtype != dtype:
            yield Complaint(
                pointer=pointer,
                detail=f"this model's input {spec.name!r} takes {spec.dtype}, that of the job's "
                f"model {dtype}",
            )


def paired(model: ModelFacts, student: ModelFacts) -> Iterator[tuple[Head, Head]]:
    """Outputs of both: the only one with the only one, else by name."""
    theirs = {head.output: head for head in student.heads}
    for head in model.heads:
        yield head, student.heads[0] if len(student.heads) == 1 else theirs[head.output]


def facts_in_the_place_of(model: ModelFacts, student: ModelFacts) -> ModelFacts:
    """What is known of a student that fits, called and named as `model` is."""
    theirs = {spec.name: spec.name for spec in student.inputs}
    if len(model.inputs) == 1:
        theirs = {student.inputs[0].name: model.inputs[0].name}
    names = theirs | {other.output: head.output for head, other in paired(model, student)}
    every = names_giving_way([layer.name for layer in student.layers], names)
    layers = tuple(
        layer.model_copy(update={"name": every.get(layer.name, layer.name)})
        for layer in student.layers
    )
    as_before = {"inputs": model.inputs, "outputs": model.outputs, "heads": model.heads}
    return student.model_copy(update={**as_before, "layers": layers})


def names_giving_way(present: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """`names` (old -> new), and a new one for each other layer that has one of these already."""
    taken = {*present, *names.values()}
    every = dict(names)
    for name in present:
        if name not in names and name in names.values():
            every[name] = _free(name, taken)
            taken.add(every[name])
    return every


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_inner_{number}" in taken:
        number += 1
    return f"{name}_inner_{number}"


def _is_replaceable(ours: Head, theirs: Head, student: ModelFacts) -> bool:
    if not {ours.activation, theirs.activation} <= REPLACEABLE:
        return False
    classes = {layer.name: layer.class_name for layer in student.layers}
    return classes.get(theirs.output) in WITH_ACTIVATION
