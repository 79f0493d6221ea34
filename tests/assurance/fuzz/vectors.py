"""The messages of the vectors, as seeds."""

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "vectors" / "dpe1-vectors.json"


def messages() -> list[bytes]:
    """All messages of the vectors, valid and malformed, each once."""
    loaded: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    texts = [vector[kind] for vector in loaded["valid"] for kind in ("request", "response", "success", "confirm")
             if vector.get(kind)]  # fmt: skip
    texts += [vector["message"] for vector in loaded["malformed_requests"]]
    return [bytes.fromhex(text) for text in dict.fromkeys(texts)]
