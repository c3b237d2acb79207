// Posts the token to the API and goes to the page that was asked for.
"use strict";

const form = document.getElementById("form");
const problem = document.getElementById("problem");
const button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  button.disabled = true;
  try {
    const answer = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: form.token.value }),
    });
    const told = await answer.json();
    if (answer.ok) {
      location.assign(target());
      return;
    }
    show(told.detail + (told.hint ? ". " + told.hint : ""));
  } catch {
    show("The platform does not answer. Is it running?");
  }
  button.disabled = false;
});

function show(text) {
  problem.textContent = text;
  problem.hidden = false;
  form.token.select();
}

// Only pages of this platform: anything else would let a link send people elsewhere after they signed in.
function target() {
  const next = new URLSearchParams(location.search).get("next") || "/";
  const url = new URL(next, location.origin);
  return url.origin === location.origin && next.startsWith("/") ? url.pathname + url.search : "/";
}
