"""A receiver of webhooks that does as it is told: receiver.py PORT KEY DIRECTORY.

It answers the requests by the lines of DIRECTORY/script, one a request, and 200 when there are no more: a status, a status and a Retry-After
(`503:1`), `hang`, `close`, `garbage`, `long`, `early` (200 behind an interim answer), `double` (200 twice), `switch` (101), `interim` (102 with a length) or `slow` (200 after half a second). Each request is a line of JSON in DIRECTORY/requests, with whether its signature is right.
"""

import base64, hashlib, hmac, http.server, json, os, socketserver, sys, threading, time

port, key, directory = int(sys.argv[1]), base64.b64decode(sys.argv[2].removeprefix("whsec_")), sys.argv[3]
lock = threading.Lock()


def next_line():
    path = os.path.join(directory, "script")
    with lock:
        lines = open(path).read().split() if os.path.exists(path) else []
        if not lines:
            return "200"
        with open(path + ".new", "w") as out:
            out.write("\n".join(lines[1:]))
        os.replace(path + ".new", path)
        return lines[0]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = next_line()
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        signature = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        request = {
            "path": self.path,
            "id": self.headers["webhook-id"],
            "type": self.headers["Content-Type"],
            "is_signed": hmac.compare_digest(signature, self.headers["webhook-signature"]),
            "is_fresh": abs(time.time() - int(self.headers["webhook-timestamp"])) < 60,
            "told": told,
            "at": time.time(),
            "event": json.loads(body),
        }
        with lock, open(os.path.join(directory, "requests"), "a") as out:
            out.write(json.dumps(request) + "\n")
        if told == "hang":
            time.sleep(600)
        if told in ("close", "hang"):
            self.close_connection = True
            return
        if told == "garbage":
            self.wfile.write(b"\x00\x01\x02 no http\r\n\r\n")
            self.close_connection = True
            return
        if told == "slow":
            time.sleep(0.5)
        if told == "switch":
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
            self.close_connection = True
            return
        if told == "interim":
            self.wfile.write(b"HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\nok")
            self.close_connection = True
            return
        status, _, after = told.partition(":")
        if told == "early":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        self.send_response(200 if told in ("long", "early", "double", "slow") else int(status))
        if after:
            self.send_header("Retry-After", after)
        if status.startswith("3"):
            self.send_header("Location", f"http://127.0.0.1:{port}/elsewhere")
        if told == "long":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            except OSError:
                self.close_connection = True
            return
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        if told == "double":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True


Server(("127.0.0.1", port), Handler).serve_forever()
