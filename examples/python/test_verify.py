"""Tests the example against a running gateway, whose addresses come from VERIGATE_ADDRESS and VERIGATE_ADMIN.

One test needs an inbox that is slow to some. By hand:

    VERIGATE__VENDORS__INBOX__OUTCOMES='[{pattern = "slow-*", outcome = "slow", delay = "25s"}]' verigate serve
    .venv/bin/python -m unittest -v
"""

import os
import queue
import subprocess
import sys
import threading
import time
import unittest
import uuid
from concurrent import futures
from pathlib import Path

import grpc

import verify
from gateway import Gateway, read_error
from verigate.verification.v1 import verification_pb2 as words
from verigate.verification.v1 import verification_service_pb2 as wire
from verigate.verification.v1 import verification_service_pb2_grpc as rpc

ADDRESS = os.environ.get("VERIGATE_ADDRESS", "127.0.0.1:50051")
ADMIN = os.environ.get("VERIGATE_ADMIN", "http://127.0.0.1:9090")
KEY = os.environ.get("VERIGATE_KEY", "dev.dev-secret")


def somebody(name: str = "ann") -> str:
    """A recipient whom nobody else uses."""
    return f"{name}-{uuid.uuid4()}@example.com"


class VerifyTest(unittest.TestCase):
    def setUp(self):
        self.gateway = self.enterContext(Gateway(ADDRESS, KEY))

    def refusal(self, call, *arguments, **named):
        """What a call that must fail says of itself."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **named)
        return read_error(caught.exception)

    def test_a_watch_sees_another_call_approve(self):
        recipient = somebody()
        verification = verify.start(self.gateway, recipient, metadata={"order": "17"})
        self.assertEqual(verification.status, words.VERIFICATION_STATUS_PENDING)
        self.assertEqual(verification.metadata["order"], "17")

        seen = queue.Queue()
        watching = futures.ThreadPoolExecutor().submit(verify.watch, self.gateway, verification.id, seen.put, 60)
        self.assertEqual(seen.get(timeout=30), words.VERIFICATION_STATUS_PENDING)

        code = verify.read_code(ADMIN, recipient)
        checked = verify.check(self.gateway, verification.id, verify.wrong(code))
        self.assertEqual((checked.outcome, checked.checks_left), (wire.CHECK_OUTCOME_WRONG_CODE, 4))
        checked = verify.check(self.gateway, verification.id, code)
        self.assertEqual(checked.outcome, wire.CHECK_OUTCOME_APPROVED)

        # The stream ends by itself after the terminal status.
        watching.result(timeout=30)
        self.assertEqual(list(seen.queue)[-1], words.VERIFICATION_STATUS_APPROVED)
        checked = verify.check(self.gateway, verification.id, code)
        self.assertEqual(checked.outcome, wire.CHECK_OUTCOME_ALREADY_APPROVED)

    def test_a_limit_names_itself_and_the_wait(self):
        recipient = somebody()
        verify.start(self.gateway, recipient)
        refusal = self.refusal(verify.start, self.gateway, recipient)
        self.assertEqual(refusal.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual((refusal.reason, refusal.domain), ("COOL_DOWN", "verigate"))
        self.assertEqual(refusal.quotas, ["COOL_DOWN"])
        self.assertTrue(0 < refusal.retry_after <= 30, refusal)

    def test_a_bad_request_names_every_field(self):
        refusal = self.refusal(verify.start, self.gateway, "nobody", scope="not a scope")
        self.assertEqual(refusal.code, grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual((refusal.reason, refusal.domain), ("INVALID_FIELD", "verigate"))
        self.assertEqual(sorted(refusal.fields), ["recipient.phone", "scope"])
        self.assertTrue(all(refusal.fields.values()), refusal)
        self.assertIsNone(refusal.retry_after)

    def test_a_wrong_key_is_refused(self):
        with Gateway(ADDRESS, "dev.wrong") as stranger:
            refusal = self.refusal(verify.start, stranger, somebody())
        self.assertEqual(refusal.code, grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual((refusal.reason, refusal.domain), ("CREDENTIALS_INVALID", "verigate"))

    def test_a_deadline_ends_a_call_that_waits(self):
        began = time.monotonic()
        refusal = self.refusal(verify.start, self.gateway, somebody("slow"), deadline=1, wait=20)
        self.assertEqual(refusal.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertTrue(0.9 < time.monotonic() - began < 15)

    def test_a_deadline_ends_a_watch(self):
        verification = verify.start(self.gateway, somebody())
        seen = []
        began = time.monotonic()
        refusal = self.refusal(verify.watch, self.gateway, verification.id, seen.append, deadline=2)
        self.assertEqual(refusal.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertTrue(1.9 < time.monotonic() - began < 15)
        self.assertEqual(set(seen), {words.VERIFICATION_STATUS_PENDING})

    def test_only_unavailable_is_tried_again(self):
        keys = []
        for answers, expected in (
            ([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, None], None),
            ([grpc.StatusCode.RESOURCE_EXHAUSTED, None], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with self.subTest(answers), Faulty(answers) as faulty, Gateway(faulty.address, KEY) as gateway:
                if expected:
                    self.assertEqual(self.refusal(verify.start, gateway, somebody()).code, expected)
                else:
                    self.assertEqual(verify.start(gateway, somebody()).id, "made at last")
                keys.append(faulty.keys)
        self.assertEqual([len(tries) for tries in keys], [3, 1])
        # All tries are one request to the gateway.
        self.assertEqual(len(set(keys[0])), 1)

    def test_a_start_whose_answer_is_lost_sends_once(self):
        """Behind VERIGATE_FLAKY the gateway is away at first, and then its answer is lost."""
        recipient = somebody()
        with Gateway(os.environ.get("VERIGATE_FLAKY", ADDRESS), KEY) as flaky:
            verification = verify.start(flaky, recipient)
        self.assertEqual(len(verification.sends), 1)
        self.assertEqual(len(verify.read_inbox(ADMIN, recipient)), 1)

    def test_the_program_asks_for_the_code(self):
        recipient = somebody()
        arguments = [sys.executable, "verify.py", "--recipient", recipient, "--ask"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(arguments, cwd=Path(__file__).parent, **pipes) as program:
            self.assertIn("started ", program.stdout.readline())
            self.assertEqual(program.stdout.readline(), "which code came?\n")
            code = verify.read_code(ADMIN, recipient)
            printed, _ = program.communicate(f"{verify.wrong(code)}\n{code}\n", timeout=60)
        self.assertEqual(program.returncode, 0, printed)
        self.assertRegex(printed, "(?s)WRONG_CODE, 4 checks left.*CHECK_OUTCOME_APPROVED")

    def test_the_program_verifies(self):
        arguments = [sys.executable, "verify.py", "--recipient", somebody()]
        here = Path(__file__).parent
        done = subprocess.run(arguments, cwd=here, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for part in (
            "DEADLINE_EXCEEDED",
            "CHECK_OUTCOME_WRONG_CODE, 4 checks left",
            "CHECK_OUTCOME_APPROVED",
            "watch: VERIFICATION_STATUS_APPROVED",
            "RESOURCE_EXHAUSTED COOL_DOWN, wait ",
            "INVALID_ARGUMENT INVALID_FIELD",
        ):
            self.assertIn(part, done.stdout, done.stderr)


class Faulty(rpc.VerificationServiceServicer):
    """A server on a free port that gives these statuses, one a call; after None it is well."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.keys = []
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
        rpc.add_VerificationServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None).wait()

    def StartVerification(self, request, context):
        self.keys.append(request.idempotency_key)
        status = self.answers.pop(0)
        if status:
            context.abort(status, "as asked")
        return wire.StartVerificationResponse(verification=words.Verification(id="made at last"))


if __name__ == "__main__":
    unittest.main()
