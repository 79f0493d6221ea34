"""The engine for machines without atheris: kept inputs and mutations of them, by a seed and without guidance."""

from collections.abc import Iterator, Sequence
from random import Random

from tests.assurance.fuzz.targets import Target

BOUNDARIES = (0, 1, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 31, 32, 127, 128, 192, 224, 240, 254, 255)


def inputs(target: Target, corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield the corpus, then mutations of it without end."""
    yield from corpus
    chance = Random(seed)
    while True:
        data = chance.choice(corpus)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
            data = _mutated(data, corpus, target.words, chance)
        data = data[: target.longest]
        if target.repair is not None and chance.random() < 0.5:
            data = target.repair(data, chance)
        yield data


def _mutated(data: bytes, corpus: Sequence[bytes], words: Sequence[bytes], chance: Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 1, 2, 4, 8, 32)))
    match chance.randrange(9):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([chance.choice(BOUNDARIES)]) + data[at + 1 :]
        case 2:
            flipped = bytes([data[at] ^ 1 << chance.randrange(8)]) if at < len(data) else b""
            return data[:at] + flipped + data[at + 1 :]
        case 3:
            return data[:at] + chance.randbytes(end - at or 1) + data[at:]
        case 4:
            return data[:at] + data[end:]
        case 5:
            return data[:end] + data[at:end] * chance.choice((1, 2, 16)) + data[end:]
        case 6:
            return data[:at] + chance.choice(words) + data[at:]
        case 7:
            word = chance.choice(words)
            return data[:at] + word + data[at + len(word) :]
        case _:
            other = chance.choice(corpus)
            return data[:at] + other[chance.randrange(len(other) + 1) :]
