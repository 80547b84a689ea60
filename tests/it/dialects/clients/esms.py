"""A customer of eSMS: signs people up by phone, sends them a word now and then, and looks at what is left.

Written against the vendor's documentation alone. Of the gateway it knows the base URL, and the inbox that stands in for
the phone.
"""

import json
import os
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

PHONE = "60123456789"


class Esms:
    def __init__(self, base, key, secret):
        self.base, self.key, self.secret = base, key, secret

    def generate(self, phone, **options):
        return self._post("/sms/otp/generate", {"phone": phone, **options}, ("api-key", "api-secret"))

    def verify(self, phone, code, **options):
        return self._post("/sms/otp/verify", {"phone": phone, "code": code, **options}, ("api-key", "api-secret"))

    def send(self, to, msg, **options):
        fields = {"user": self.key, "pass": self.secret, "to": to, "msg": msg, **options}
        return self._open(self.base + "/sms/send", urllib.parse.urlencode(fields).encode())

    def balance(self):
        fields = urllib.parse.urlencode({"user": self.key, "pass": self.secret})
        return self._open(f"{self.base}/sms/balance?{fields}")

    def _post(self, path, fields, names):
        body = json.dumps({names[0]: self.key, names[1]: self.secret, **fields}).encode()
        return self._open(self.base + path, body, {"Content-Type": "application/json; charset=utf-8"})

    @staticmethod
    def _open(url, body=None, headers={}):
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            assert answer.status == 200, answer.status
            return json.load(answer)


class Reports:
    """Takes the vendor's calls to `dlr-url`."""

    def __init__(self):
        self.seen, self.came = [], threading.Condition()
        reports = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with reports.came:
                    reports.seen.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query)))
                    reports.came.notify()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/dlr?shop=7"

    def wait(self):
        with self.came:
            assert self.came.wait_for(lambda: self.seen, timeout=60), "no report came"
            return self.seen.pop()


def phone_shows(admin, phone):
    """The newest text on the phone."""
    url = f"{admin}/inbox/messages?recipient=%2B{phone}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)[0]["text"]


def main():
    admin, reports = os.environ["ADMIN"], Reports()
    esms = Esms(os.environ["BASE"], os.environ["KEY"], os.environ["SECRET"])

    # Somebody signs up, mistypes the code and then does not.
    sent = esms.generate(PHONE, **{"brand-name": "Eaon", "duration": 5, "app-id": 2})
    assert (sent["status"], sent["creditDeducted"], sent["parts"], sent["type"]) == (0, 1, 1, 0), sent
    text = phone_shows(admin, PHONE)
    start, end = "RM0.00 Eaon - Your OTP code is ", ". This is valid for the next 5 minutes."
    assert text.startswith(start) and text.endswith(end), text
    code = text[len(start) : -len(end)]
    assert len(code) == 6 and code.isdigit(), code
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    answers = [esms.verify(PHONE, candidate, **{"app-id": app}) for candidate, app in [(wrong, 2), (code, 1), (code, 2), (code, 2)]]
    assert [answer["status"] for answer in answers] == [16, 16, 0, 16], answers

    # Somebody is told that the order is on its way, and we that the message arrived.
    sent = esms.send(PHONE, "RM0.00 Eaon - 您的订单已发货。", dlr=1, **{"dlr-url": reports.url})
    assert (sent["status"], sent["type"]) == (0, 8), sent
    assert phone_shows(admin, PHONE) == "RM0.00 Eaon - 您的订单已发货。"
    report = reports.wait()
    assert report["shop"] == "7" and report["msgId"] == sent["id"] and report["s"] == "DELIVRD", report
    assert len(report["t"]) == 14 and report["t"].isdigit(), report

    # What we got wrong ourselves.
    assert esms.generate("0123456789", **{"brand-name": "Eaon"})["status"] == 4
    assert esms.generate("60-12 345 6789", **{"brand-name": "Eaon"})["status"] == 9
    assert esms.send(PHONE, "Eaon - Hello")["status"] == 10
    assert Esms(esms.base, esms.key, "wrong").balance() | {"id": ""} == {
        "status": 3, "balance": 0, "message": "Invalid API key or secret", "id": "",
    }

    left = esms.balance()
    assert left["status"] == 0 and isinstance(left["balance"], int) and left["balance"] > 0, left


main()
