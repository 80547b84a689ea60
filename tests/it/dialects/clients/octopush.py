"""A shop that signs its customers in with codes, and tells them of their parcels: a client of Octopush as its pages
describe it, with Python's own library. It knows nothing of who answers.

    python3 octopush.py BASE_URL API_LOGIN API_KEY INBOX_URL

INBOX_URL: where to read what people received, in place of their phones. Prints the ticket of its last campaign.
"""

import datetime
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

CUSTOMER = "+33611223344"


class OctopushError(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status
        self.code = body["code"]
        self.attempts_left = body.get("remaining_number_of_attempts")


class Octopush:
    """The calls that the shop makes."""

    def __init__(self, base_url, login, key):
        self.base_url = base_url
        self.headers = {"Content-Type": "application/json", "api-login": login, "api-key": key,
                        "cache-control": "no-cache"}

    def call(self, method, path, body=None, query=()):
        url = f"{self.base_url}{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise OctopushError(error.code, json.loads(error.read())) from None

    def balance(self):
        _, answer = self.call("GET", "/wallet/check-balance")
        return answer["amount"], answer["unit"]

    def send_code(self, number, **options):
        status, answer = self.call("POST", "/service/otp/generate", {"phone_number": number, **options})
        assert status == 201 and answer["code"] == 0 and answer["message"] == "success", answer
        assert answer["ticket_number"].startswith("sms_"), answer
        return answer["otp_request_token"]

    def check_code(self, token, number, code):
        body = {"otp_request_token": token, "phone_number": number, "code": code}
        status, answer = self.call("PUT", "/service/otp/validate", body)
        assert status == 200 and answer == {"code": 0, "message": "success"}, answer

    def send(self, recipients, text, **options):
        body = {"recipients": recipients, "text": text, "type": "sms_premium", "purpose": "alert", **options}
        status, answer = self.call("POST", "/sms-campaign/send", body)
        assert status == 201, status
        return answer["sms_ticket"], answer["number_of_contacts"], answer["total_cost"]

    def cancel(self, ticket):
        status, answer = self.call("DELETE", "/sms-campaign/cancel", {"ticket_number": ticket})
        assert (status, answer) == (204, None)

    def add_contacts(self, contacts, list_name):
        status, _ = self.call("POST", "/contact/create", {"contacts": contacts, "list_name": list_name})
        assert status == 201, status


def received(inbox_url, number):
    """The texts on a phone, newest first."""
    query = urllib.parse.urlencode({"recipient": number})
    with urllib.request.urlopen(f"{inbox_url}?{query}", timeout=30) as answer:
        return [message["text"] for message in json.load(answer)]


def refused(call, *arguments, **options):
    """What a call is refused with."""
    try:
        call(*arguments, **options)
    except OctopushError as error:
        return error
    raise AssertionError("it was not refused")


def sign_in(client, inbox_url):
    # As a PHP client would say it, with every value a text.
    token = client.send_code(CUSTOMER, text="Your code for the shop: ", sender="MyShop", code_length="6",
                             channel="sms", validity_period="900", max_wrong_attempts="3", allow_digits="1")
    assert re.fullmatch(r"otp_[0-9a-f]{32}", token), token
    text = received(inbox_url, CUSTOMER)[0]
    code = re.fullmatch(r"Your code for the shop: (\d{6})", text)[1]

    wrong = "000000" if code != "000000" else "111111"
    error = refused(client.check_code, token, CUSTOMER, wrong)
    assert (error.status, error.code, error.attempts_left) == (400, 199, 2), error
    client.check_code(token, CUSTOMER, code)
    error = refused(client.check_code, token, CUSTOMER, code)
    assert (error.status, error.code) == (400, 198), error

    error = refused(client.send_code, "+33")
    assert (error.status, error.code) == (400, 117), error


def tell_of_parcels(client, inbox_url):
    people = [{"phone_number": "+33611223355", "first_name": "Ann", "param1": "A1"},
              {"phone_number": "0033 6 11 22 33 66", "first_name": "Léa", "param1": "B2"},
              {"phone_number": "unknown", "first_name": "Bob", "param1": "C3"}]
    client.add_contacts(people, "Parcels")
    text = "Hello {first_name}, parcel {param1} has come."
    ticket, contacts, cost = client.send(people, text, sender="MyShop", request_id="parcels-1")
    assert re.fullmatch(r"sms_[0-9a-f]{32}", ticket), ticket
    assert (contacts, cost) == (2, 0), (contacts, cost)
    assert received(inbox_url, "+33611223355") == ["Hello Ann, parcel A1 has come."]
    assert received(inbox_url, "+33611223366") == ["Hello Léa, parcel B2 has come."]

    # The network failed, the shop thinks, and tries again.
    error = refused(client.send, people, text, sender="MyShop", request_id="parcels-1")
    assert (error.status, error.code) == (400, 120), error
    assert len(received(inbox_url, "+33611223355")) == 1

    later, contacts, _ = client.send(people[:1], "Do not forget {param1}.", send_at="2099-01-01T10:00:00+01:00",
                                     simulation_mode=True)
    assert contacts == 1 and later != ticket
    return ticket


def call_off(client, inbox_url):
    tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).isoformat()
    ticket, contacts, _ = client.send([{"phone_number": "+33611223377"}], "Too early", send_at=tomorrow)
    assert contacts == 1
    client.cancel(ticket)
    error = refused(client.cancel, "sms_5f6c4ba715694")
    assert (error.status, error.code) == (400, 131), error
    assert received(inbox_url, "+33611223377") == []


def main(base_url, login, key, inbox_url):
    client = Octopush(base_url, login, key)
    amount, unit = client.balance()
    assert amount > 0 and unit == "euros", (amount, unit)
    sign_in(client, inbox_url)
    call_off(client, inbox_url)
    ticket = tell_of_parcels(client, inbox_url)
    error = refused(Octopush(base_url, login, "wrong").balance)
    assert (error.status, error.code) == (401, 101), error
    print(ticket)


if __name__ == "__main__":
    main(*sys.argv[1:])
