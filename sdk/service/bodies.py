"""The picture in a request: the body itself, a file of a form, or an address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from matter_sdk.sdk.service import addresses
from matter_sdk.sdk.service.refusals import Refused

SECONDS = 30.0
"""The longest that a body may take to arrive."""

KINDS = "image/…, application/octet-stream or multipart/form-data"


async def picture_of(request: Request, most: int, *, allow_urls: bool) -> bytes:
    """Read a request's picture, as bytes.

    Raises:
        Refused: 400 for a body that breaks off or is no form, 403 for an address where none is
            allowed, 408 for one that takes too long, 413 for more than ``most`` bytes, 415 for
            another type of content; as ``addresses.fetch``.
    """
    kind = request.headers.get("content-type", "application/octet-stream")
    kind = kind.partition(";")[0].strip().lower()
    if kind == "application/json":
        if not allow_urls:
            raise Refused(403, "AddressError", f"addresses are not taken here; expected {KINDS}")
        url = _address(await _body(request, most))
        return await asyncio.to_thread(addresses.fetch, url, most)
    if kind == "multipart/form-data":
        return await _file(request, await _body(request, most))
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await _body(request, most)
    raise Refused(415, "ContentTypeError", f"the content's type is {kind!r}; expected {KINDS}")


async def _body(request: Request, most: int) -> bytes:
    """The whole body; of one that is too large nothing more is kept."""
    length = request.headers.get("content-length", "0")
    parts, size = [], int(length) if length.isdigit() else 0
    if size <= most:
        size = 0
        try:
            async with asyncio.timeout(SECONDS):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        break
        except TimeoutError as error:
            raise Refused(
                408, "BodyError", f"the body took longer than {SECONDS:g} s to arrive"
            ) from error
        except ClientDisconnect as error:
            raise Refused(400, "BodyError", "the body broke off") from error
    if size > most:
        raise Refused(413, "BodyError", f"the body has more than {most:,} bytes; expected fewer")
    return b"".join(parts)


def _address(body: bytes) -> str:
    try:
        found = json.loads(body)
        (url,) = (found[name] for name in found if name == "url")
        if len(found) == 1 and isinstance(url, str):
            return url
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise Refused(400, "BodyError", 'the body is no address; expected {"url": "https://…"}')


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # the body is in memory already: no file for it


async def _file(request: Request, body: bytes) -> bytes:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, whole(), max_files=1, max_fields=0).parse()
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary
        reason = getattr(error, "message", error)
        raise Refused(400, "BodyError", f"the form cannot be read ({reason})") from error
    try:
        given = form.get("image")
        if not isinstance(given, UploadFile):
            raise Refused(
                400, "BodyError", f"the form has {sorted(form)}; expected one file, 'image'"
            )
        return await given.read()
    finally:
        await form.close()
