"""Serve the page: upload videos, get a verdict for each.

    python -m web_app [--address 0.0.0.0] [--port 8501]

It prints the address to open in a browser. All limits are keys of the section app of params.yaml.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any


def main() -> None:
    import streamlit as st
    from starlette.middleware import Middleware

    from stages.params import parse
    from web_app.http_headers import SafeHeaders
    from web_app.incoming import StoreUploads
    from web_app.service import start_service

    params = parse("app", __doc__ or "")
    service = start_service(params)
    middleware = [
        Middleware(SafeHeaders),
        Middleware(StoreUploads, incoming=service.incoming, free_bytes=service.visitors.free_bytes),
    ]

    @asynccontextmanager
    async def close_at_the_end(_: Any) -> AsyncIterator[None]:
        yield
        service.pool.close()  # the signal that ends the server leaves no time for more

    app = st.App(Path(__file__).with_name("app.py"), middleware=middleware, lifespan=close_at_the_end)
    with suppress(KeyboardInterrupt):  # Ctrl-C; the server has ended by then
        app.run(
            config={
                "server.address": params.app.address,
                "server.port": params.app.port,
                "server.maxUploadSize": params.app.megabytes,
            }
        )


if __name__ == "__main__":  # not in the worker processes, which import this file, too
    main()
