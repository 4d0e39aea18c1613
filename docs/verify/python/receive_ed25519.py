# pip install cryptography
import base64
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

key = base64.b64decode(os.environ["WEBHOOK_PUBLIC_KEY"].removeprefix("whpk_"), validate=True)
public_key = Ed25519PublicKey.from_public_bytes(key)


def is_signed(headers, body):
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    content = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    for token in headers.get("webhook-signature", "").split(" "):
        version, _, signature = token.partition(",")
        if version != "v1a":
            continue
        try:
            public_key.verify(base64.b64decode(signature, validate=True), content)
            return True
        except (InvalidSignature, ValueError):
            continue
    return False


class Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if is_signed(self.headers, body) else 400)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receive)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
