// Tests the example against a running gateway, whose addresses come from VERIGATE_ADDRESS and VERIGATE_ADMIN.
//
// One test needs an inbox that is slow to some. By hand:
//
//     VERIGATE__VENDORS__INBOX__OUTCOMES='[{pattern = "slow-*", outcome = "slow", delay = "25s"}]' verigate serve
//     npm test

"use strict";

const assert = require("node:assert/strict");
const { execFile, spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { createInterface } = require("node:readline");
const { after, test } = require("node:test");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const { Gateway, VerificationService, readError } = require("./gateway");
const { check, readCode, readInbox, start, watch, wrong } = require("./verify");

const ADDRESS = process.env.VERIGATE_ADDRESS ?? "127.0.0.1:50051";
const ADMIN = process.env.VERIGATE_ADMIN ?? "http://127.0.0.1:9090";
const KEY = process.env.VERIGATE_KEY ?? "dev.dev-secret";

const gateway = new Gateway(ADDRESS, KEY);
after(() => gateway.close());

/** A recipient whom nobody else uses. */
function somebody(name = "ann") {
  return `${name}-${randomUUID()}@example.com`;
}

/** What a call that must fail says of itself. */
async function refusal(call) {
  const error = await call.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)}`),
    (error) => error,
  );
  if (error instanceof assert.AssertionError) throw error;
  return readError(error);
}

test("a watch sees another call approve", async () => {
  const recipient = somebody();
  const { id, status, metadata } = await start(gateway, recipient, { metadata: { order: "17" } });
  assert.equal(status, "VERIFICATION_STATUS_PENDING");
  assert.deepEqual({ ...metadata }, { order: "17" });

  const seen = [];
  let watching;
  await new Promise((resolve, reject) => {
    watching = watch(gateway, id, (status) => resolve(seen.push(status)), 60);
    watching.catch(reject);
  });
  assert.deepEqual(seen, ["VERIFICATION_STATUS_PENDING"]);

  const code = await readCode(ADMIN, recipient);
  const { outcome, checksLeft } = await check(gateway, id, wrong(code));
  assert.deepEqual([outcome, checksLeft], ["CHECK_OUTCOME_WRONG_CODE", 4]);
  assert.equal((await check(gateway, id, code)).outcome, "CHECK_OUTCOME_APPROVED");

  // The stream ends by itself after the terminal status.
  await watching;
  assert.equal(seen.at(-1), "VERIFICATION_STATUS_APPROVED");
  assert.equal((await check(gateway, id, code)).outcome, "CHECK_OUTCOME_ALREADY_APPROVED");
});

test("a limit names itself and the wait", async () => {
  const recipient = somebody();
  await start(gateway, recipient);
  const { code, reason, domain, quotas, retryAfter } = await refusal(start(gateway, recipient));
  assert.deepEqual([code, reason, domain], ["RESOURCE_EXHAUSTED", "COOL_DOWN", "verigate"]);
  assert.deepEqual(quotas, ["COOL_DOWN"]);
  assert.ok(retryAfter > 0 && retryAfter <= 30, `${retryAfter}`);
});

test("a bad request names every field", async () => {
  const { code, reason, domain, fields, retryAfter } = await refusal(start(gateway, "nobody", { scope: "not a scope" }));
  assert.deepEqual([code, reason, domain], ["INVALID_ARGUMENT", "INVALID_FIELD", "verigate"]);
  assert.deepEqual(Object.keys(fields).sort(), ["recipient.phone", "scope"]);
  assert.ok(Object.values(fields).every((description) => description !== ""));
  assert.equal(retryAfter, undefined);
});

test("a wrong key is refused", async () => {
  const stranger = new Gateway(ADDRESS, "dev.wrong");
  const { code, reason, domain } = await refusal(start(stranger, somebody()));
  stranger.close();
  assert.deepEqual([code, reason, domain], ["UNAUTHENTICATED", "CREDENTIALS_INVALID", "verigate"]);
});

test("a deadline ends a call that waits", async () => {
  const began = performance.now();
  const { code } = await refusal(start(gateway, somebody("slow"), { deadline: 1, wait: 20 }));
  assert.equal(code, "DEADLINE_EXCEEDED");
  assertBetween(0.9, began, 15);
});

test("a deadline ends a watch", async () => {
  const { id } = await start(gateway, somebody());
  const seen = new Set();
  const began = performance.now();
  const { code } = await refusal(watch(gateway, id, (status) => seen.add(status), 2));
  assert.equal(code, "DEADLINE_EXCEEDED");
  assertBetween(1.9, began, 15);
  assert.deepEqual([...seen], ["VERIFICATION_STATUS_PENDING"]);
});

test("only UNAVAILABLE is tried again", async () => {
  const late = await faulty([grpc.status.UNAVAILABLE, grpc.status.UNAVAILABLE]);
  assert.equal((await start(late.gateway, somebody())).id, "made at last");
  late.stop();
  assert.equal(late.keys.length, 3);
  // All tries are one request to the gateway.
  assert.equal(new Set(late.keys).size, 1);

  const limited = await faulty([grpc.status.RESOURCE_EXHAUSTED]);
  assert.equal((await refusal(start(limited.gateway, somebody()))).code, "RESOURCE_EXHAUSTED");
  limited.stop();
  assert.equal(limited.keys.length, 1);
});

// Behind VERIGATE_FLAKY the gateway is away at first, and then its answer is lost.
test("a start whose answer is lost sends once", async () => {
  const recipient = somebody();
  const flaky = new Gateway(process.env.VERIGATE_FLAKY ?? ADDRESS, KEY);
  const { sends } = await start(flaky, recipient);
  flaky.close();
  assert.equal(sends.length, 1);
  assert.equal((await readInbox(ADMIN, recipient)).length, 1);
});

test("the program asks for the code", async () => {
  const recipient = somebody();
  const program = spawn(process.execPath, ["verify.js", "--recipient", recipient, "--ask"], {
    cwd: __dirname,
    stdio: ["pipe", "pipe", "inherit"],
    timeout: 60_000,
  });
  const lines = [];
  for await (const line of createInterface({ input: program.stdout })) {
    lines.push(line);
    if (line !== "which code came?") continue;
    const code = await readCode(ADMIN, recipient);
    program.stdin.write(`${lines.length === 2 ? wrong(code) : code}\n`);
  }
  assert.match(lines.join("\n"), /WRONG_CODE, 4 checks left[^]*CHECK_OUTCOME_APPROVED/);
});

test("the program verifies", async () => {
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ["verify.js", "--recipient", somebody()], {
    cwd: __dirname,
    timeout: 60_000,
  });
  for (const part of [
    "DEADLINE_EXCEEDED",
    "CHECK_OUTCOME_WRONG_CODE, 4 checks left",
    "CHECK_OUTCOME_APPROVED",
    "watch: VERIFICATION_STATUS_APPROVED",
    "RESOURCE_EXHAUSTED COOL_DOWN, wait ",
    "INVALID_ARGUMENT INVALID_FIELD",
  ]) {
    assert.ok(stdout.includes(part), `${part} is not in\n${stdout}`);
  }
});

/** A server on a free port that first gives these statuses, one a call, and then is well; and a client of it. */
async function faulty(statuses) {
  const keys = [];
  const server = new grpc.Server();
  server.addService(VerificationService.service, {
    StartVerification({ request }, answer) {
      keys.push(request.idempotencyKey);
      const code = statuses.shift();
      answer(code === undefined ? null : { code, details: "as asked" }, { verification: { id: "made at last" } });
    },
  });
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind("127.0.0.1:0", grpc.ServerCredentials.createInsecure());
  const gateway = new Gateway(`127.0.0.1:${port}`, KEY);
  const stop = () => {
    gateway.close();
    server.forceShutdown();
  };
  return { gateway, keys, stop };
}

function assertBetween(least, began, most) {
  const seconds = (performance.now() - began) / 1000;
  assert.ok(seconds > least && seconds < most, `${seconds} s`);
}
