"""Verifies a person with Verigate, from Python.

It starts a verification, meets the two commonest refusals, lets a deadline end a call, and watches the verification on
a stream while a wrong and the right code are checked. For trying out, it takes the code from the dev inbox; with --ask it
asks for it, as a real service would.

README.md says how to run it, and how its stubs are made. The tests are in test_verify.py.
"""

import argparse
import json
import os
import re
import threading
import time
import urllib.parse
import urllib.request
import uuid

import grpc

from gateway import Gateway, Refusal, read_error

from google.protobuf import duration_pb2  # isort: skip
from verigate.messaging.v1 import message_pb2
from verigate.verification.v1 import verification_pb2
from verigate.verification.v1 import verification_service_pb2 as wire

# Seconds that a call may take. Longer than the longest `delivery_wait` that goes with it.
DEADLINE = 15


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies a person with Verigate.")
    environment = os.environ.get
    parser.add_argument("--address", default=environment("VERIGATE_ADDRESS", "127.0.0.1:50051"), help="of gRPC")
    parser.add_argument("--admin", default=environment("VERIGATE_ADMIN", "http://127.0.0.1:9090"), help="for the inbox")
    parser.add_argument("--recipient", default="+60123456789", help="a phone number or an e-mail address")
    parser.add_argument("--ask", action="store_true", help="ask for the code, instead of reading it in the inbox")
    arguments = parser.parse_args()
    # Not an argument: those of a process are for everybody to see.
    key = environment("VERIGATE_KEY", "dev.dev-secret")

    with Gateway(arguments.address, key) as gateway:
        try:
            if arguments.ask:
                ask_until_decided(gateway, arguments.recipient)
            else:
                run(gateway, arguments.admin, arguments.recipient)
        except grpc.RpcError as error:
            refusal = read_error(error)
            print(f"failed: {refusal.code.name} {refusal.reason}: {refusal.message}")
            return 1
    return 0


def run(gateway: Gateway, admin: str, recipient: str) -> None:
    verification = start(gateway, recipient)
    print(f"started {verification.id}")

    for whom, why in ((recipient, "the same person, too soon"), ("nobody", "what is no recipient")):
        try:
            start(gateway, whom)
        except grpc.RpcError as error:
            tell_refusal(why, read_error(error))

    began = time.monotonic()
    try:
        # Nobody types the code meanwhile, so this waits as long as it may.
        watch(gateway, verification.id, lambda _: None, deadline=1)
    except grpc.RpcError as error:
        print(f"watched for {time.monotonic() - began:.1f} s: {error.code().name}")

    # From here on the watch runs beside the checks.
    watching = threading.Thread(target=watch, args=(gateway, verification.id, tell_status), daemon=True)
    watching.start()

    code = read_code(admin, recipient)
    for candidate in (wrong(code), code):
        checked = check(gateway, verification.id, candidate)
        print(f"checked: {wire.CheckOutcome.Name(checked.outcome)}, {checked.checks_left} checks left")
    watching.join(DEADLINE)


def ask_until_decided(gateway: Gateway, recipient: str) -> None:
    """Checks what is typed until that settles it."""
    verification = start(gateway, recipient)
    print(f"started {verification.id}", flush=True)
    while True:
        print("which code came?", flush=True)
        checked = check(gateway, verification.id, input().strip())
        print(f"checked: {wire.CheckOutcome.Name(checked.outcome)}, {checked.checks_left} checks left", flush=True)
        if checked.outcome != wire.CHECK_OUTCOME_WRONG_CODE:
            return


def tell_refusal(why: str, refusal: Refusal) -> None:
    wait = f", wait {refusal.retry_after:.0f} s" if refusal.retry_after is not None else ""
    print(f"{why}: {refusal.code.name} {refusal.reason}{wait}")
    for name, wanted in refusal.fields.items():
        print(f"  {name}: {wanted}")


def tell_status(status: int) -> None:
    print(f"  watch: {verification_pb2.VerificationStatus.Name(status)}")


def start(gateway: Gateway, recipient: str, deadline: float = DEADLINE, wait: int = 5, **fields):
    """Sends a code, and gives the verification once a vendor took the message or `wait` seconds have passed."""
    kind = "email" if "@" in recipient else "phone"
    request = wire.StartVerificationRequest(
        recipient=message_pb2.Recipient(**{kind: recipient}),
        delivery_wait=duration_pb2.Duration(seconds=wait),
        # A retry of this call finds what the first try made, instead of sending another code.
        idempotency_key=str(uuid.uuid4()),
        **fields,
    )
    answer = gateway.verifications.StartVerification(request, timeout=deadline, metadata=gateway.credentials)
    return answer.verification


def check(gateway: Gateway, verification_id: str, candidate: str):
    """Compares what was typed. A wrong code is an answer, not an error: only CHECK_OUTCOME_APPROVED lets anybody in."""
    request = wire.CheckVerificationRequest(
        id=verification_id,
        code=candidate,
        # A retry of this call costs no check, and is told what the first try was told.
        idempotency_key=str(uuid.uuid4()),
    )
    return gateway.verifications.CheckVerification(request, timeout=DEADLINE, metadata=gateway.credentials)


def watch(gateway: Gateway, verification_id: str, tell, deadline: float = 600) -> None:
    """Tells each status as it comes, and returns after the last."""
    request = wire.WatchVerificationRequest(id=verification_id)
    for answer in gateway.verifications.WatchVerification(request, timeout=deadline, metadata=gateway.credentials):
        tell(answer.verification.status)


def read_inbox(admin: str, recipient: str) -> list[dict]:
    """What the dev inbox holds for a recipient, newest first."""
    query = urllib.parse.urlencode({"recipient": recipient})
    with urllib.request.urlopen(f"{admin}/inbox/messages?{query}", timeout=DEADLINE) as answer:
        return json.load(answer)


def read_code(admin: str, recipient: str) -> str:
    """The code of the newest message: what the person would read from a screen."""
    return re.search(r"\b\d{6}\b", read_inbox(admin, recipient)[0]["text"]).group()


def wrong(code: str) -> str:
    """Another code than this one."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


if __name__ == "__main__":
    raise SystemExit(main())
