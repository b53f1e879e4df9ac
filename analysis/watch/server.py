"""Server: Bokeh's own, which shows the page to browsers of this machine that know the token."""

from bokeh.server.server import Server
from bokeh.util.token import generate_secret_key, generate_session_id

from physopt.analysis.watch.feed import Feed
from physopt.analysis.watch.page import Page

ADDRESS = "127.0.0.1"


def page_server(feed: Feed, port: int = 0) -> tuple[Server, str]:
    """Return a server on the current event loop, started, and the URL of its page.

    It accepts connections from this machine only. The URL has a session id that is signed with a
    secret of this server; without a valid one it answers 403. Port 0 takes a free one. Raises
    OSError if it cannot be opened.
    """
    secret = generate_secret_key().encode()
    server = Server(
        lambda document: Page(document, feed),
        address=ADDRESS,
        port=port,
        generate_session_ids=False,
        sign_sessions=True,
        secret_key=secret,
    )
    server.start()
    token = generate_session_id(secret_key=secret, signed=True)
    return server, f"http://localhost:{server.port}/?bokeh-session-id={token}"
