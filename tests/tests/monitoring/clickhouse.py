"""ClickHouse's HTTP interface before chdb, its engine in a process: what the tests need of it.

Takes a directory, and the configuration of a replica if it is one. Prints its port. A query is in
the parameter `query` and the body, as in ClickHouse.
"""

import gzip
import http.server
import os
import sys
import tempfile
import threading
import urllib.parse

from chdb import session

database, *configuration = sys.argv[1:]
if configuration:
    import replica

    replica.wake()
    database += f"?config-file={configuration[0]}"
engine = session.Session(database)
one_at_a_time = threading.Lock()
BINARY = " FORMAT RowBinary"


def answered(query, body, parameters, values):
    try:
        if database := parameters.pop("database", None):
            engine.query(f"USE {database}")
        settings = [f"{k} = '{v}'" for k, v in parameters.items() if not k.startswith("param_")]
        if settings and " FORMAT " in query:
            query = query.replace(" FORMAT ", f" SETTINGS {', '.join(settings)} FORMAT ")
        if query.endswith(BINARY):
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(body)
            try:
                engine.query(query.removesuffix(BINARY) + f" FROM INFILE '{file.name}'{BINARY}")
            finally:
                os.unlink(file.name)
            return 200, b""
        text = "\n".join(part for part in (query, body.decode()) if part)
        return 200, str(engine.query(text, "JSONCompactEachRow", params=values)).encode()
    except Exception as error:
        return 404 if "UNKNOWN_TABLE" in str(error) else 400, str(error).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b"".join(self.chunks())
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        query = parameters.pop("query", "")
        values = {k.removeprefix("param_"): v for k, v in parameters.items() if k.startswith("param_")}
        with one_at_a_time:
            status, answer = answered(query, body, parameters, values)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def chunks(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while length := int(self.rfile.readline(), 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
