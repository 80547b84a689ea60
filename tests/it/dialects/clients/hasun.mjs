// A customer of Hasun: asks for a code, compares it itself where it likes, has it verified, sends a text and asks what
// became of it. Written against the vendor's documentation alone; of the gateway it knows the base URL, and the inbox
// that stands in for the phone.

import assert from "node:assert/strict";

const { BASE, ADMIN, ORGANISATION, TOKEN, MASK } = process.env;
const NUMBER = "0771234567";

class Hasun {
  constructor(base, organisation, token, mask) {
    Object.assign(this, { base, organisation, token, mask });
  }

  status() {
    return this.#call("GET", "status");
  }

  sendOtp(number, expire) {
    return this.#call("POST", "verification/otp/sms/send", { mask_token: this.mask, number, expire });
  }

  validateOtp(number, otp) {
    return this.#call("POST", "verification/otp/sms/validate", { mask_token: this.mask, number, otp });
  }

  sendSms(number, message) {
    return this.#call("POST", "sms/send", { mask_token: this.mask, number, message });
  }

  smsStatus(message_uuid) {
    return this.#call("POST", "sms/status", { mask_token: this.mask, message_uuid });
  }

  async #call(method, path, body) {
    const answer = await fetch(`${this.base}/${this.organisation}/${path}`, {
      method,
      headers: {
        accept: "application/json",
        authorization: `Bearer ${this.token}`,
        ...(body && { "content-type": "application/json" }),
      },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(60_000),
    });
    return { status: answer.status, body: await answer.json() };
  }
}

// The newest message on the phone.
async function phoneShows() {
  const answer = await fetch(`${ADMIN}/inbox/messages?recipient=%2B94771234567`, { signal: AbortSignal.timeout(60_000) });
  return (await answer.json())[0];
}

const hasun = new Hasun(BASE, ORGANISATION, TOKEN, MASK);
assert.deepEqual(await hasun.status(), {
  status: 200,
  body: { status: "success", version: "v1", message: "Hello world!" },
});

// Somebody signs up, mistypes the code and then does not.
const { status, body } = await hasun.sendOtp(NUMBER, "120");
assert.equal(status, 200);
assert.deepEqual(Object.keys(body), ["otp_code"]);
assert(Number.isInteger(body.otp_code) && body.otp_code >= 100_000 && body.otp_code <= 999_999);
const shown = await phoneShows();
assert.equal(shown.text, `Your verification code is ${body.otp_code}`);
assert.equal(shown.sender, "ACME");
const wrong = await hasun.validateOtp(NUMBER, body.otp_code === 999_999 ? 100_000 : body.otp_code + 1);
assert.deepEqual(wrong, {
  status: 400,
  body: { verification: false, reason: "invalid", message: "OTP code invalid" },
});
assert.deepEqual(await hasun.validateOtp("+94771234567", String(body.otp_code)), {
  status: 200,
  body: { verification: true, reason: "verified", message: "OTP code verified" },
});
assert.equal((await hasun.validateOtp(NUMBER, body.otp_code)).body.reason, "already_used");

// Somebody is told that the order is on its way, and it arrives.
const sent = await hasun.sendSms(NUMBER, "Test Message");
assert.equal(sent.body.status, "success");
assert.equal((await phoneShows()).text, "Test Message");
assert.deepEqual(await hasun.smsStatus(sent.body.message_uuid), { status: 200, body: { status: "delivered" } });

// What we got wrong ourselves.
assert.equal((await new Hasun(BASE, ORGANISATION, "wrong", MASK).status()).status, 401);
assert.equal((await new Hasun(BASE, ORGANISATION, TOKEN, "R432FDESD").sendOtp(NUMBER)).status, 422);
assert.equal((await hasun.sendOtp("07x1234567")).body.message, "Invalid number");
