"""How large what flows through a graph becomes: worked out from the inputs on, layer by layer.

What a file says of a tensor's shape is believed only where this cannot work it out.
"""

from app.recipes.keras.graph import Graph, Ref, is_model
from app.uploads.inspector.keras.shapes import Shape, shape_after


class Results:
    """Shapes of the tensors of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._shapes: dict[Ref, Shape | None] = {}
        self._inner: dict[str, Results] = {}

    def shape(self, ref: Ref) -> Shape | None:
        """With its batch axis; of an axis of any length, null."""
        pending = [] if ref in self._shapes else [ref]
        while pending:
            current = pending[-1]
            before = [feed for feed in self.graph.feeds(current) if feed not in self._shapes]
            if current in self._shapes or not before:
                pending.pop()
                self._shapes[current] = self._made(current)
                continue
            # What leads back to itself finds this.
            self._shapes[current] = None
            pending.extend(before)
        return self._shapes[ref]

    def _made(self, ref: Ref) -> Shape | None:
        layer, said = self.graph.layers.get(ref.layer), self.graph.known_shapes.get(ref)
        fed = [self._shapes.get(feed) for feed in self.graph.feeds(ref)]
        if layer is not None and is_model(layer):
            return self._made_inside(ref)
        if layer is not None and fed and (made := shape_after(layer, fed)) is not None:
            return made
        return None if said is None else list(said)

    def _made_inside(self, ref: Ref) -> Shape | None:
        if ref.layer not in self._inner:
            self._inner[ref.layer] = Results(self.graph.inner(ref.layer))
        inside = self._inner[ref.layer]
        return inside.shape(inside.graph.outputs[ref.output])
