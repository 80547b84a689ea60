"""A receiver of webhooks that knows of us only what Standard Webhooks says, and verifies with somebody else's library.

Prints its port, then a line of JSON for each call: which of the secrets verify it, and whether a forged copy would pass.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRETS = {"old": sys.argv[1], "new": sys.argv[2]}


def verified(secret, body, headers):
    try:
        return Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return None


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = dict(self.headers.items())
        read = {name: verified(secret, body, headers) for name, secret in SECRETS.items()}
        told = next((payload for payload in read.values() if payload), None)
        forged = [
            verified(secret, body.replace(b"DELIVERED", b"UNDELIVERED"), headers)
            or verified(secret, body, {**headers, "webhook-id": "evt_another"})
            or verified(secret, body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)})
            for secret in SECRETS.values()
        ]
        line = {
            "id": headers.get("webhook-id"),
            "signatures": len(headers.get("webhook-signature", "").split()),
            "verified": [name for name, payload in read.items() if payload],
            "type": told and told["type"],
            "forged": any(forged),
        }
        print(json.dumps(line), flush=True)
        self.send_response(204 if told else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
