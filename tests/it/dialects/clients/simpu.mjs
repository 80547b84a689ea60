// A customer's client as it was written for Simpu, with nothing but fetch; only its base URL and its key are another.
//
// BASE: where the vendor's paths begin. KEY: the API key. ADMIN: where the gateway shows what it sent.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";

class SimpuError extends Error {
  constructor(status, body) {
    super(body?.message ?? `HTTP ${status}`);
    this.status = status;
    this.errors = body?.errors ?? [];
  }
}

class Simpu {
  constructor(baseUrl, apiKey) {
    this.baseUrl = baseUrl;
    this.apiKey = apiKey;
  }

  async call(method, path, body) {
    const headers = { Authorization: this.apiKey };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await fetch(`${this.baseUrl}${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (response.status === 204) return undefined;
    const answer = await response.json();
    if (!response.ok) throw new SimpuError(response.status, answer);
    return answer;
  }

  requestOtp(request) {
    return this.call("POST", "/otp/request_token", request);
  }

  verifyOtp(id, token) {
    return this.call("POST", "/otp/verify", { id, token });
  }

  getOtp(id) {
    return this.call("GET", `/otp/${id}`);
  }

  getOtpsByRecipient(recipient) {
    return this.call("GET", `/otp/get-by-recipient?${new URLSearchParams({ recipient })}`);
  }

  revokeOtp(id) {
    return this.call("DELETE", `/otp/${id}`);
  }

  sendSms(request) {
    return this.call("POST", "/sms/send", request);
  }

  getContactList() {
    return this.call("GET", "/lists/contact");
  }

  getRow(id) {
    return this.call("GET", `/lists/contact/row/${id}`);
  }

  createRow(columns) {
    return this.call("POST", "/lists/contact/rows", { columns });
  }

  updateRow(id, columns) {
    return this.call("PATCH", `/lists/contact/rows/${id}`, { columns });
  }

  deleteRow(id) {
    return this.call("DELETE", `/lists/contact/rows/${id}`);
  }

  queryRows(filters, limit) {
    return this.call("POST", `/lists/contact/rows/query?limit=${limit}`, { filters });
  }
}

const { BASE, KEY, ADMIN } = process.env;
const simpu = new Simpu(BASE, KEY);

/** The newest text that a person got. */
async function inbox(recipient) {
  const response = await fetch(`${ADMIN}/inbox/messages?${new URLSearchParams({ recipient: `+${recipient}` })}`);
  return (await response.json())[0].text;
}

function fails(promise, status, message) {
  return assert.rejects(promise, (error) => {
    assert.equal(error.status, status);
    assert.equal(error.message, message);
    return true;
  });
}

async function codes() {
  const otp = await simpu.requestOtp({ recipient: "2348023456789", length: 6, expires_in: 30, channel: "sms" });
  assert.match(otp.id, /^[0-9a-f]{32}$/);
  assert.equal(otp.recipient, "2348023456789");
  assert.deepEqual([otp.status, otp.status_desc], [1, "SENT"]);
  assert.match(otp.created_datetime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/);
  assert.ok(Math.abs(Date.parse(otp.created_datetime) - Date.now()) < 600_000);

  const [token] = (await inbox(otp.recipient)).match(/\b\d{6}\b/);
  const wrong = String((Number(token) + 1) % 1_000_000).padStart(6, "0");
  await fails(simpu.verifyOtp(otp.id, wrong), 404, "Invalid token");
  const verified = await simpu.verifyOtp(otp.id, token);
  assert.deepEqual([verified.id, verified.status, verified.status_desc], [otp.id, 2, "VERIFIED"]);
  await fails(simpu.verifyOtp(otp.id, token), 404, "Token already used");
  assert.equal((await simpu.getOtp(otp.id)).status_desc, "VERIFIED");

  // Whoever has just proven their number may have the next code at once.
  const own = await simpu.requestOtp({ recipient: "2348023456789", token: "004711" });
  assert.match(await inbox("2348023456789"), /004711/);
  const all = await simpu.getOtpsByRecipient("2348023456789");
  assert.deepEqual(all.map(({ id, status }) => [id, status]), [[own.id, 1], [otp.id, 2]]);
  await simpu.revokeOtp(own.id);
  assert.equal((await simpu.getOtp(own.id)).status_desc, "REVOKED");
  await fails(simpu.verifyOtp(own.id, "004711"), 404, "OTP not found");
  await fails(simpu.requestOtp({ recipient: "2348023456789" }), 429, "Too many requests");
}

async function mistakes() {
  await assert.rejects(simpu.requestOtp({ recipient: "Lagos", length: 9, channel: "pigeon" }), (error) => {
    assert.equal(error.status, 400);
    assert.deepEqual(error.errors.map(({ field, type }) => [field, type]), [
      ["recipient", "value_error"],
      ["length", "less_than_equal"],
      ["channel", "literal_error"],
    ]);
    return true;
  });
  await fails(new Simpu(BASE, "not-the-key").requestOtp({ recipient: "2348023456789" }), 401, "Unauthorized");
  await fails(simpu.getOtp("674535b2b39158b9aae90188fcec23eb"), 404, "OTP not found");
}

async function texts() {
  const posted = [];
  let enough;
  const all = new Promise((resolve) => (enough = resolve));
  const hooks = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    posted.push({ method: request.method, url: request.url, ...JSON.parse(body) });
    response.writeHead(200).end();
    if (posted.length === 2) enough();
  }).listen(0, "127.0.0.1");
  await once(hooks, "listening");

  const callback = `http://127.0.0.1:${hooks.address().port}/simpu?shop=7`;
  const recipients = ["2348023456780", "2348023456781"];
  const sent = await simpu.sendSms({
    recipients: recipients.join(","),
    sender_id: "Shop",
    content: "Your order is on its way",
    external_ref: "order-7",
    is_trackable: false,
    callback,
    channel: "sms",
  });
  assert.deepEqual(sent.recipients, recipients);
  assert.equal(sent.callback, callback);
  const { available_balance, charge, pages, message_length } = sent.meta.estimate;
  assert.deepEqual([charge, pages, message_length], [2, 1, 24]);
  assert.ok(available_balance > 0);
  assert.equal(await inbox(recipients[1]), "Your order is on its way");

  await all;
  hooks.close();
  posted.sort((one, other) => one.recipient.localeCompare(other.recipient));
  const told = { method: "POST", url: "/simpu?shop=7", id: sent.id, external_ref: "order-7", status: 2 };
  assert.deepEqual(posted, recipients.map((recipient) => ({ ...told, recipient, status_desc: "DELIVERED" })));
}

async function contacts() {
  const { columns } = await simpu.getContactList();
  const id = (name) => columns.find((column) => column.name === name).id;
  const ada = { [id("phone_number")]: "2348023456789", [id("first_name")]: "Ada" };
  const { row } = await simpu.createRow(ada);
  assert.deepEqual(row.columns, ada);
  await simpu.createRow({ [id("first_name")]: "Bola" });
  await simpu.updateRow(row.id, { [id("last_name")]: "Obi" });
  assert.equal((await simpu.getRow(row.id)).row.columns[id("last_name")], "Obi");

  const filter = { column_id: id("first_name"), name: "first_name", operator: "contain", value: "ad" };
  const found = await simpu.queryRows([filter], 1);
  assert.deepEqual(found.rows.map((found) => found.id), [row.id]);
  assert.equal(found.meta.pagination.count_total, 1);
  assert.equal(found.meta.pagination.next_page, "False");
  assert.equal((await simpu.queryRows([], 1)).meta.pagination.next_page, "True");

  await simpu.deleteRow(row.id);
  await fails(simpu.getRow(row.id), 404, "Row not found");
}

await codes();
await mistakes();
await texts();
await contacts();
