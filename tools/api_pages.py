"""docs/reference/api.md, made from the OpenAPI document of the HTTP API. Used by tools/generate.py."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from dpe_server.web.api.application import PREFIX, document

PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 and Python from 3.13 on have them."""
PAGE = """\
# The HTTP API

What `dpe web` serves at `{prefix}`; see [Use the HTTP API](../how-to/api.md). Made from its OpenAPI document by
`tools/generate.py`; a test fails when this page and the code differ. The document itself is at `{prefix}/openapi.json`.

A reader's access token is enough to GET; all else needs an operator's. Times are Unix seconds.

| | |
|---|---|
{contents}

{operations}
## What is told and taken

{schemas}
## Errors

Every error is `application/problem+json`, as [ProblemDocument](#problemdocument). It shows no value of the request.

| status | when |
|---|---|
{errors}
"""

Schema = Mapping[str, Any]


def page() -> str:
    """Return the text of docs/reference/api.md."""
    found = document()
    operations = list(_operations(found))
    statuses: dict[str, str] = {}
    for _, _, operation in operations:
        statuses |= {
            status: answer["description"] for status, answer in operation["responses"].items() if int(status) >= 400
        }
    return PAGE.format(
        prefix=PREFIX,
        contents="\n".join(
            f"| [`{method} {path}`](#{_anchor(method, path)}) | {_short(operation)} |"
            for method, path, operation in operations
        ),
        operations="\n".join(_section(*one) for one in operations),
        schemas="\n".join(_schema(name, schema) for name, schema in found["components"]["schemas"].items()),
        errors="\n".join(f"| {status} {_phrase(int(status))} | {text} |" for status, text in sorted(statuses.items())),
    )


def _phrase(status: int) -> str:
    return PHRASES.get(status) or HTTPStatus(status).phrase


def _operations(found: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _short(operation: Schema) -> str:
    """Return the first sentence of what an operation does."""
    first: str = operation["description"].partition("\n")[0]
    return first.partition(". ")[0].rstrip(".")


def _anchor(method: str, path: str) -> str:
    return f"{method} {path}".lower().replace(" ", "-").translate({ord(sign): None for sign in "/{}"})


def _section(method: str, path: str, operation: Schema) -> str:
    lines = [f"### `{method} {path}`", "", operation["description"], ""]
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["| parameter | in | type | |", "|---|---|---|---|"]
        for one in parameters:
            must = "" if one["required"] or one["in"] == "path" else _default(one["schema"])
            text = f"{one.get('description', '')}{must}"
            lines.append(f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {_cell(text)} |")
        lines.append("")
    if body := operation.get("requestBody"):
        lines += [f"Takes {_type(body['content']['application/json']['schema'])}.", ""]
    content = operation["responses"]["200"]["content"]
    kinds = [_type(one["schema"]) if kind == "application/json" else f"`{kind}`" for kind, one in content.items()]
    lines += [f"Tells {' or '.join(kinds)}.", ""]
    return "\n".join(lines)


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default in (None, "") else f" [{str(default).lower() if isinstance(default, bool) else default}]"


def _schema(name: str, schema: Schema) -> str:
    lines = [f"### {name}", ""]
    if text := schema.get("description"):
        lines += [text, ""]
    lines += ["| field | type | |", "|---|---|---|"]
    must = schema.get("required", [])
    for field, one in schema.get("properties", {}).items():
        text = one.get("description", "") + ("" if field in must else " May be missing.")
        lines.append(f"| `{field}` | {_type(one)} | {_cell(text.strip())} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(schema: Schema) -> str:
    """Return what a schema takes, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {_type(schema['items'])}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_type(inner)} by name" if isinstance(inner, dict) else "object"
    bounds = [f"{schema[low]}" for low in ("minimum", "minLength") if low in schema]
    most = [f"{schema[high]}" for high in ("maximum", "exclusiveMaximum", "maxLength") if high in schema]
    unit = " characters" if "maxLength" in schema else ""
    text = f"{kind}, {bounds[0] if bounds else 0} to {most[0]}{unit}" if most else str(kind)
    return f"{text}, `{_cell(schema['pattern'])}`" if "pattern" in schema else text
