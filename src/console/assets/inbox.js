// Keeps the inbox page up to date: asks for the messages each second while the page is seen, and writes them as text.
// Nothing of a message is ever parsed as markup: textContent only.
"use strict";

const POLL_MILLISECONDS = 1000;
const COPIED_MILLISECONDS = 1500;

const byId = (id) => document.getElementById(id);
const list = byId("messages");
const filter = byId("filter");

/** What is on the page: key -> { element, message }. */
const shown = new Map();
let lastAnswer = null;
let timer = null;
let asking = false;

// === Codes in texts ===

/** The code in a text, or null. A Web OTP line ("@example.com #123456") names it; else the longest run of 4 to 10 digits;
 *  else the longest word that mixes digits with letters or code signs. */
function findCode(text) {
  const lines = text.trimEnd().split("\n");
  const bound = /^@\S+ (?:%\S+ )?#(\S+)$/.exec(lines.at(-1));
  if (bound) {
    return bound[1];
  }
  // A last line of 11 characters alone tells an Android app apart; it is no code.
  if (lines.length > 1 && /^[A-Za-z0-9+/]{11}$/.test(lines.at(-1))) {
    lines.pop();
  }
  const body = lines.join("\n");
  // Not part of a word, an amount, an address or a phone number.
  const digits = body.match(/(?<![0-9A-Za-z.+/])[0-9]{4,10}(?![0-9A-Za-z]|\.[0-9])/g) ?? [];
  const words = (body.match(/[!-~]+/g) ?? []).map((word) => word.replace(/^["'([{<]+|["')\]}>.,;:]+$/g, ""));
  const mixed = words.filter((word) => /^(?=.*[0-9])(?=.*[A-Za-z!#$%&?@])[A-Za-z0-9!#$%&?@]{4,32}$/.test(word));
  const longest = (candidates) => candidates.reduce((best, word) => (word.length > (best?.length ?? 0) ? word : best), null);
  return longest(digits) ?? longest(mixed);
}

// === Time ===

function ago(then, now) {
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function clock(then, now) {
  const time = then.toLocaleTimeString("en-GB");
  return then.toDateString() === now.toDateString() ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}

function tellTimes() {
  const now = new Date();
  for (const { element, message } of shown.values()) {
    const then = new Date(message.sent_at);
    setText(element.querySelector(".ago"), ago(then, now));
    setText(element.querySelector(".clock"), clock(then, now));
  }
}

// === Writing ===

function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function announce(text) {
  byId("announcer").textContent = text;
}

const CHANNELS = { sms: "SMS", whatsapp: "WhatsApp", voice: "Voice", email: "Email" };

function createMessage(message) {
  const element = byId("message").content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector(`.${name}`);
  part("recipient").textContent = message.recipient;
  part("channel").textContent = CHANNELS[message.channel] ?? message.channel;
  part("when").dateTime = message.sent_at;
  part("when").title = message.sent_at;
  part("tenant").textContent = message.tenant;
  part("vendor").textContent = message.vendor;
  part("id").textContent = message.id;
  part("sender").textContent = message.sender ?? "";
  part("sender-field").hidden = message.sender === null;
  const code = findCode(message.text);
  writeText(part("text"), message.text, code);
  if (code !== null) {
    const button = part("code");
    button.hidden = false;
    part("code-text").textContent = code;
    part("code-text").classList.toggle("long", code.length > 10);
    button.addEventListener("click", () => copy(code, part("code-text"), part("code-copy")));
  }
  return element;
}

/** The text with the code marked wherever it stands. */
function writeText(element, text, code) {
  const pieces = code === null ? [text] : text.split(code);
  pieces.forEach((piece, index) => {
    if (index > 0) {
      const mark = document.createElement("mark");
      mark.textContent = code;
      element.append(mark);
    }
    element.append(document.createTextNode(piece));
  });
}

/** Copies; where the browser does not let us, selects the text so that a key press does. */
async function copy(text, element, label) {
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    announce("Copied");
  } catch {
    getSelection().selectAllChildren(element);
    label.textContent = "Selected";
    announce("Selected; press the copy keys");
  }
  setTimeout(() => { label.textContent = "Copy"; }, COPIED_MILLISECONDS);
}

function show(messages) {
  const first = lastAnswer === null;
  const keys = new Set();
  const arrived = [];
  let next = list.firstElementChild;
  for (const message of messages) {
    let key = `${message.vendor} ${message.id} ${message.sent_at}`;
    while (keys.has(key)) key += "+";
    keys.add(key);
    if (!shown.has(key)) {
      const element = createMessage(message);
      element.classList.toggle("new", !first);
      shown.set(key, { element, message });
      arrived.push(message);
    }
    const { element } = shown.get(key);
    if (element === next) {
      next = next.nextElementSibling;
    } else {
      list.insertBefore(element, next);
    }
  }
  for (const [key, { element }] of shown) {
    if (!keys.has(key)) {
      element.remove();
      shown.delete(key);
    }
  }
  if (!first && arrived.length > 0) {
    announce(arrived.length === 1 ? `New message to ${arrived[0].recipient}` : `${arrived.length} new messages`);
  }
}

// === Filter ===

function matches(recipient, wanted) {
  if (!/^[+0-9 ().-]*$/.test(wanted)) {
    return recipient.toLowerCase().includes(wanted);
  }
  const digits = wanted.replace(/[^0-9]/g, "");
  // Without its leading zeros a number is found as people write it at home, too.
  return recipient.includes(digits) || (digits.startsWith("0") && recipient.includes(digits.replace(/^0+/, "")));
}

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  let visible = 0;
  for (const { element, message } of shown.values()) {
    element.hidden = wanted !== "" && !matches(message.recipient, wanted);
    visible += element.hidden ? 0 : 1;
  }
  const total = shown.size;
  const noun = total === 1 ? "message" : "messages";
  setText(byId("count"), wanted === "" ? `${total} ${noun}` : `${visible} of ${total} ${noun}`);
  byId("count").hidden = total === 0;
  byId("no-match").hidden = total === 0 || visible > 0;
  byId("empty").hidden = total > 0;
}

function setFilter(text) {
  filter.value = text;
  const address = new URL(location.href);
  if (text.trim() === "") {
    address.searchParams.delete("recipient");
  } else {
    address.searchParams.set("recipient", text.trim());
  }
  history.replaceState(null, "", address);
  applyFilter();
}

// === Asking ===

function setState(state, text) {
  byId("state").dataset.state = state;
  setText(byId("state-text"), text);
}

async function ask() {
  const answer = await fetch("/inbox/messages", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) {
    throw new Error(`status ${answer.status}`);
  }
  return answer.text();
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden || asking) {
    return;
  }
  asking = true;
  try {
    const answer = await ask();
    if (answer !== lastAnswer) {
      show(JSON.parse(answer));
      lastAnswer = answer;
      applyFilter();
    }
    tellTimes();
    setState("live", "Live");
  } catch {
    setState("lost", "Reconnecting");
  }
  asking = false;
  timer = setTimeout(poll, POLL_MILLISECONDS);
}

// === Start ===

filter.value = new URLSearchParams(location.search).get("recipient") ?? "";
filter.addEventListener("input", () => setFilter(filter.value));
filter.form.addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => setFilter(""));
byId("copy-command").addEventListener("click", (event) => {
  copy(byId("command").textContent, byId("command"), event.currentTarget);
});
document.addEventListener("visibilitychange", poll);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== filter && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "Escape" && document.activeElement === filter) {
    setFilter("");
  }
});
poll();
