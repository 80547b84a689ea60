// Verifies a person with Verigate, from Node.
//
// It starts a verification, meets the two commonest refusals, lets a deadline end a call, and watches the verification
// on a stream while a wrong and the right code are checked. For trying out, it takes the code from the dev inbox; with
// --ask it asks for it, as a real service would.
//
// README.md says how to run it, and how to have types of the calls. The tests are in verify.test.js.

"use strict";

const { randomUUID } = require("node:crypto");
const { createInterface } = require("node:readline");
const { parseArgs } = require("node:util");
const { Gateway, readError } = require("./gateway");

// Seconds that a call may take. Longer than the longest `deliveryWait` that goes with it.
const DEADLINE = 15;

async function main() {
  const { values } = parseArgs({
    options: {
      // Where gRPC is, and where the inbox.
      address: { type: "string", default: process.env.VERIGATE_ADDRESS ?? "127.0.0.1:50051" },
      admin: { type: "string", default: process.env.VERIGATE_ADMIN ?? "http://127.0.0.1:9090" },
      // A phone number or an e-mail address.
      recipient: { type: "string", default: "+60123456789" },
      // Ask for the code, instead of reading it in the inbox.
      ask: { type: "boolean", default: false },
    },
  });
  // Not an argument: those of a process are for everybody to see.
  const key = process.env.VERIGATE_KEY ?? "dev.dev-secret";

  const gateway = new Gateway(values.address, key);
  try {
    if (values.ask) await askUntilDecided(gateway, values.recipient);
    else await run(gateway, values.admin, values.recipient);
  } catch (error) {
    if (error.code === undefined || !error.metadata) throw error;
    const refusal = readError(error);
    console.log(`failed: ${refusal.code} ${refusal.reason}: ${refusal.message}`);
    process.exitCode = 1;
  } finally {
    gateway.close();
  }
}

async function run(gateway, admin, recipient) {
  const { id } = await start(gateway, recipient);
  console.log(`started ${id}`);

  for (const [whom, why] of [
    [recipient, "the same person, too soon"],
    ["nobody", "what is no recipient"],
  ]) {
    await start(gateway, whom).catch((error) => tellRefusal(why, readError(error)));
  }

  const began = performance.now();
  // Nobody types the code meanwhile, so this waits as long as it may.
  await watch(gateway, id, () => {}, 1).catch((error) => {
    console.log(`watched for ${((performance.now() - began) / 1000).toFixed(1)} s: ${readError(error).code}`);
  });

  // From here on the watch runs beside the checks.
  const watching = watch(gateway, id, (status) => console.log(`  watch: ${status}`));
  const code = await readCode(admin, recipient);
  for (const candidate of [wrong(code), code]) {
    const checked = await check(gateway, id, candidate);
    console.log(`checked: ${checked.outcome}, ${checked.checksLeft} checks left`);
  }
  await watching;
}

/** Checks what is typed until that settles it. */
async function askUntilDecided(gateway, recipient) {
  const { id } = await start(gateway, recipient);
  console.log(`started ${id}`);
  console.log("which code came?");
  for await (const line of createInterface({ input: process.stdin })) {
    const { outcome, checksLeft } = await check(gateway, id, line.trim());
    console.log(`checked: ${outcome}, ${checksLeft} checks left`);
    if (outcome !== "CHECK_OUTCOME_WRONG_CODE") return;
    console.log("which code came?");
  }
  throw new Error("nobody answers");
}

function tellRefusal(why, refusal) {
  const wait = refusal.retryAfter === undefined ? "" : `, wait ${Math.round(refusal.retryAfter)} s`;
  console.log(`${why}: ${refusal.code} ${refusal.reason}${wait}`);
  for (const [field, wanted] of Object.entries(refusal.fields)) {
    console.log(`  ${field}: ${wanted}`);
  }
}

/** Sends a code, and gives the verification once a vendor took the message or `wait` seconds have passed. */
async function start(gateway, recipient, { deadline = DEADLINE, wait = 5, ...fields } = {}) {
  const request = {
    recipient: recipient.includes("@") ? { email: recipient } : { phone: recipient },
    deliveryWait: { seconds: wait },
    // A retry of this call finds what the first try made, instead of sending another code.
    idempotencyKey: randomUUID(),
    ...fields,
  };
  const { verification } = await gateway.call("StartVerification", request, deadline);
  return verification;
}

/** Compares what was typed. A wrong code is an answer, not an error: only CHECK_OUTCOME_APPROVED lets anybody in. */
function check(gateway, id, code) {
  // By its key, a retry of this call costs no check, and is told what the first try was told.
  return gateway.call("CheckVerification", { id, code, idempotencyKey: randomUUID() }, DEADLINE);
}

/** Tells each status as it comes, and ends after the last. */
async function watch(gateway, id, tell, deadline = 600) {
  for await (const { verification } of gateway.watch({ id }, deadline)) {
    tell(verification.status);
  }
}

/** What the dev inbox holds for a recipient, newest first. */
async function readInbox(admin, recipient) {
  const query = new URLSearchParams({ recipient });
  const answer = await fetch(`${admin}/inbox/messages?${query}`, { signal: AbortSignal.timeout(DEADLINE * 1000) });
  return answer.json();
}

/** The code of the newest message: what the person would read from a screen. */
async function readCode(admin, recipient) {
  const [newest] = await readInbox(admin, recipient);
  return newest.text.match(/\b\d{6}\b/)[0];
}

/** Another code than this one. */
function wrong(code) {
  return code.slice(0, -1) + ((Number(code.at(-1)) + 1) % 10);
}

module.exports = { check, readCode, readInbox, start, watch, wrong };

if (require.main === module) {
  main();
}
