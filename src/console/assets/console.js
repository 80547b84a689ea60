// Renews what is live on a page: asks for the fragment that the page names, every so often, while the page is seen. A
// fragment is a part of a page of ours, made and escaped by the server. Without this script a reload shows the same.
"use strict";

const state = document.querySelector("[data-live-state]");

function say(text) {
  if (state && state.textContent !== text) {
    state.textContent = text;
  }
}

/** Puts the new parts in, unless the person is at work in the old ones. */
function show(place, text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  if (fresh.innerHTML === place.dataset.shown || place.contains(document.activeElement)) {
    return;
  }
  place.dataset.shown = fresh.innerHTML;
  const open = [...place.querySelectorAll("details")].map((details) => details.open);
  place.replaceChildren(...fresh.childNodes);
  place.querySelectorAll("details").forEach((details, at) => {
    details.open = open[at] ?? false;
  });
}

function keepFresh(place) {
  let timer = null;
  let asking = false;
  async function renew() {
    clearTimeout(timer);
    if (document.hidden || asking) {
      return;
    }
    asking = true;
    try {
      const answer = await fetch(place.dataset.live, { cache: "no-store", redirect: "error" });
      if (!answer.ok) {
        throw new Error(`status ${answer.status}`);
      }
      show(place, await answer.text());
      say("Live");
    } catch {
      say("Reconnecting");
    }
    asking = false;
    timer = setTimeout(renew, Number(place.dataset.every));
  }
  document.addEventListener("visibilitychange", renew);
  renew();
}

document.querySelectorAll("[data-live]").forEach(keepFresh);
