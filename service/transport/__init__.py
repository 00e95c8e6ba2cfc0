"""Move bytes between sockets and the app: connections, HTTP, ASGI, keys, traces."""
