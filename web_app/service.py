"""What all visitors of a server share: its params, its workers, its uploads and results."""

import secrets
import threading
import time
from dataclasses import dataclass

import streamlit as st
from streamlit import runtime

from stages.params import Params, parse
from web_app.http_headers import COOKIE, TOKEN_BYTES
from web_app.incoming import Incoming
from web_app.uploads import UploadPool, open_upload_pool
from web_app.visitors import Visitor, Visitors

SWEEP_SECONDS = 30


@dataclass(frozen=True)
class Service:
    params: Params
    pool: UploadPool
    incoming: Incoming
    visitors: Visitors

    def visitor(self) -> Visitor:
        """Whoever the page runs for. Callbacks ask anew: one who was away for long is another visitor by then.

        The secret is the cookie of the browser, so that a reload keeps the results, or else one of this session.
        """
        fallback = st.session_state.setdefault("token", secrets.token_urlsafe(TOKEN_BYTES))
        return self.visitors.visitor(str(st.context.cookies.get(COOKIE) or fallback))

    def sweep(self) -> None:
        """Delete what nobody waits for any more."""
        self.visitors.sweep()
        if runtime.exists():
            self.incoming.sweep(runtime.get_instance().is_active_session)


_started: list[Service] = []  # at most one: that of this process
_starting = threading.Lock()


def start_service(params: Params) -> Service:
    """Start the workers, and a thread that sweeps."""
    pool, incoming = open_upload_pool(params.app), Incoming()
    service = Service(params, pool, incoming, Visitors(params.app, pool, lambda: incoming.bytes))
    _started.append(service)
    threading.Thread(target=_sweep_for_ever, args=[service], daemon=True).start()
    return service


def the_service() -> Service:
    """The service of this process, which is started with params.yaml as it is unless it runs."""
    with _starting:
        return _started[0] if _started else start_service(parse("app", argv=[]))


def _sweep_for_ever(service: Service) -> None:
    while True:
        time.sleep(SWEEP_SECONDS)
        service.sweep()
