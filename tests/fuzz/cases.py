"""From a number to an upload."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.fuzz import plain
from tests.fuzz.archives import mutated_archive
from tests.fuzz.binary import mutated_flatbuffer, mutated_hdf5
from tests.fuzz.parquet import mutated_parquet
from tests.fuzz.seeds import FORMATS, Seed, seeds
from tests.fuzz.textual import mutated_table

MUTATIONS: dict[str, Callable[[bytes, bytes, Random], bytes]] = {
    "keras": mutated_archive,
    "npz": mutated_archive,
    "saved_model": mutated_archive,
    "images": mutated_archive,
    "h5": mutated_hdf5,
    "tflite": mutated_flatbuffer,
    "csv": mutated_table,
    "parquet": mutated_parquet,
}
# Of a hundred: sent as the other kind, or under another ending.
OTHER_KIND, OTHER_NAME = 2, 4
# Share of cases that begin with an honest file.
HONEST = 0.7


@dataclass(frozen=True)
class Case:
    """One upload: where it is sent, what the client calls it, and its bytes."""

    number: int
    format: str
    kind: str
    name: str
    content: bytes


def case(number: int, formats: tuple[str, ...] = ()) -> Case:
    """The same for the same number and formats (all by default), always."""
    random = Random(f"{number}")
    known = seeds()
    seed = _seed(known[random.choice(formats or tuple(known))], random)
    content = seed.content
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
        other = random.choice(known[seed.format]).content
        mutate = MUTATIONS[seed.format] if random.random() < 0.95 else plain.mutated
        content = mutate(content, other, random)
    return Case(number, seed.format, _kind(seed, random), _name(seed, random), content)


def _seed(among: tuple[Seed, ...], random: Random) -> Seed:
    """Honest ones more often: a change to what is refused anyway leads nowhere new."""
    honest = [seed for seed in among if seed.is_honest]
    return random.choice(honest if random.random() < HONEST else among)


def _kind(seed: Seed, random: Random) -> str:
    if random.randrange(100) < OTHER_KIND:
        return "models" if seed.kind == "datasets" else "datasets"
    return seed.kind


def _name(seed: Seed, random: Random) -> str:
    if random.randrange(100) < OTHER_NAME:
        return "upload" + random.choice((*FORMATS, "", ".txt"))
    return "upload"
