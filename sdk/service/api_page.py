"""The page ``/docs``: what the service takes, and a form to try it; all of it in one file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src blob:"
)
"""The header Content-Security-Policy that goes with the page: a browser keeps it to its word."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }}
h2 {{ border-top: 1px solid #ccc; padding-top: 1rem }}
table {{ border-collapse: collapse }}
td {{ padding: .2rem 1rem .2rem 0; vertical-align: top }}
form > * {{ margin: 0 .5rem .5rem 0 }}
img {{ max-width: 100%;
  background: repeating-conic-gradient(#ccc 0 25%, #fff 0 50%) 0 / 24px 24px }}
</style>
<h1>{title}</h1>
<p>{description} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
<form>
<input type="file" name="image" accept="image/*" required aria-label="picture">
{fields}
<button>Try it</button>
<output></output>
</form>
<img alt="" hidden>
{operations}
<script>
const form = document.forms[0], shown = document.images[0];
form.onsubmit = async (event) => {{
  event.preventDefault();
  const given = new FormData(form), said = form.querySelector("output");
  const image = given.get("image");
  given.delete("image");
  for (const [name, value] of [...given]) if (!value) given.delete(name);
  said.value = "…";
  try {{
    const asked = "matte?" + new URLSearchParams(given);
    const answer = await fetch(asked, {{method: "POST", body: image}});
    if (!answer.ok) throw (await answer.json()).error.message;
    URL.revokeObjectURL(shown.src);
    shown.src = URL.createObjectURL(await answer.blob());
    shown.hidden = false;
    said.value = "";
  }} catch (error) {{
    said.value = error;
  }}
}};
</script>
</html>
"""


def page(api: dict[str, Any]) -> str:
    """Write the page.

    Args:
        api: the description in OpenAPI 3, with the operation ``post`` of ``/matte``.
    """
    return _PAGE.format(
        title=escape(api["info"]["title"]),
        description=escape(api["info"]["description"]),
        fields="\n".join(map(_field, api["paths"]["/matte"]["post"]["parameters"])),
        operations="\n".join(_operations(api["paths"])),
    )


def _field(parameter: dict[str, Any]) -> str:
    name, schema = escape(parameter["name"]), parameter["schema"]
    if "enum" not in schema:
        return f'<label>{name} <input name="{name}"></label>'
    options = "".join(f"<option>{escape(value)}</option>" for value in schema["enum"])
    return f'<label>{name} <select name="{name}">{options}</select></label>'


def _operations(paths: dict[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
            yield f"<p>{escape(operation.get('description', ''))}</p>"
            body = operation.get("requestBody", {})
            yield _table(
                [("query", p["name"], _said(p)) for p in operation.get("parameters", ())]
                + [("body", kind, "") for kind in body.get("content", ())]
                + [
                    ("answer", status, answer.get("description", ""))
                    for status, answer in operation["responses"].items()
                ]
            )


def _said(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    words = [parameter.get("description", ""), ", ".join(schema.get("enum", ()))]
    if "default" in schema:
        words.append(f"default: {schema['default']}")
    return "; ".join(word for word in words if word)


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = (
        f"<tr><td>{escape(kind)}<td><code>{escape(name)}</code><td>{escape(said)}"
        for kind, name, said in rows
    )
    return f"<table>{''.join(cells)}</table>"
