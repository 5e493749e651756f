"""Takes events of a sink of kind webhook, and prints each: webhook.py KEY_FILE [PORT]."""

import base64, hashlib, hmac, http.server, sys

KEY = base64.b64decode(open(sys.argv[1]).read().strip().removeprefix("whsec_"))


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        mac = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        is_right = hmac.compare_digest(mac, self.headers["webhook-signature"])
        if is_right:
            print(body.decode(), flush=True)
        self.send_response(200 if is_right else 401)
        self.end_headers()


http.server.HTTPServer(("127.0.0.1", int(sys.argv[2]) if sys.argv[2:] else 8080), Receiver).serve_forever()
