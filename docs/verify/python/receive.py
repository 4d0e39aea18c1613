# pip install standardwebhooks
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


class Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        # The bytes as they came: parsed and written again, they would be others.
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except Exception:  # WebhookVerificationError, or a header that is no signature at all
            status = 400
        else:
            # The same id twice is the same event: remember it for some days, act once.
            print("received", self.headers["webhook-id"], event["type"], flush=True)
            status = 204
        self.send_response(status)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receive)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
