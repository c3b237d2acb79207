// What the pages do in the browser: change in place, tell times, ask for reasons.
"use strict";

window.dash_clientside = window.dash_clientside || {};

/* Changing in place. A page comes as a tree; what is the same kind of thing at the same place keeps its element. */
(() => {
  let shown = null;

  const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
  const isComponent = (x) => x !== null && typeof x === "object" && !Array.isArray(x) && x.props && x.type && x.namespace;

  function alike(before, after) {
    if (isComponent(before) && isComponent(after)) {
      return before.type === after.type && before.namespace === after.namespace && same(before.props.id, after.props.id);
    }
    if (Array.isArray(before) && Array.isArray(after)) {
      return before.length === after.length && before.every((child, i) => alike(child, after[i]));
    }
    return !isComponent(before) && !isComponent(after) && !Array.isArray(before) && !Array.isArray(after) && same(before, after);
  }

  function change(before, after) {
    if (Array.isArray(after)) {
      after.forEach((child, i) => change(before[i], child));
      return;
    }
    if (!isComponent(after)) return;
    const fresh = {};
    for (const key of new Set([...Object.keys(before.props), ...Object.keys(after.props)])) {
      if (key === "children" || same(before.props[key], after.props[key])) continue;
      fresh[key] = key in after.props ? after.props[key] : null;
    }
    const inner = [before.props.children, after.props.children];
    if (alike(...inner)) {
      change(...inner);
    } else {
      fresh.children = inner[1] === undefined ? null : inner[1];
    }
    if (Object.keys(fresh).length) window.dash_clientside.set_props(after.props.id, fresh);
  }

  // Nobody looks at a hidden tab, so nothing is asked for it; coming back shows what is true now.
  document.addEventListener("visibilitychange", () => {
    if (!shown || !shown.live) return;
    window.dash_clientside.set_props("tick", { disabled: document.hidden });
    if (!document.hidden) window.dash_clientside.set_props("done", { data: String(Date.now()) });
  });

  window.dash_clientside.lockgate = {
    apply(fresh) {
      const nothing = window.dash_clientside.no_update;
      if (!fresh) return nothing;
      document.title = fresh.title;
      const before = shown;
      shown = fresh;
      // Some pages are looked at once only: a proof of the whole ledger, for example.
      if (!before || before.live !== fresh.live) window.dash_clientside.set_props("tick", { disabled: !fresh.live });
      if (before && before.path === fresh.path && alike(before.tree, fresh.tree)) {
        change(before.tree, fresh.tree);
        queueMicrotask(tellTimes);
        return nothing;
      }
      if (!before || before.path !== fresh.path) window.scrollTo(0, 0);
      setTimeout(tellTimes, 0);
      return fresh.tree;
    },
  };
})();

/* Times: how long ago, by the second; the exact time is on hover. */
function ago(seconds) {
  const past = Math.abs(seconds);
  const told =
    past < 5 ? "just now"
    : past < 60 ? `${Math.floor(past)} s`
    : past < 3600 ? `${Math.floor(past / 60)} min`
    : past < 86400 ? `${Math.floor(past / 3600)} h`
    : `${Math.floor(past / 86400)} d`;
  if (past < 5) return told;
  // The end of the minute under way lies a little ahead.
  return seconds >= 0 ? `${told} ago` : past < 3600 ? "now" : `in ${told}`;
}

function tellTimes() {
  for (const element of document.querySelectorAll("time.when")) {
    const at = Date.parse(element.getAttribute("datetime"));
    if (Number.isNaN(at)) continue;
    const word = element.dataset.word;
    const text = (word ? word + " " : "") + ago((Date.now() - at) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
}
setInterval(tellTimes, 1000);

/* How charts write numbers and times. */
(() => {
  const two = (n) => String(n).padStart(2, "0");
  const digits = (value, n) => Number(value.toPrecision(n)).toString();
  window.dashMantineFunctions = {
    clock: (t) => {
      if (typeof t !== "number") return t;
      const at = new Date(t);
      const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
      const days = Math.abs(Date.now() - t) > 20 * 3600 * 1000;
      return days ? `${at.toLocaleDateString(undefined, { month: "short", day: "numeric" })} ${clock}` : clock;
    },
    count: (v) => (v == null ? "no data" : Math.abs(v) >= 1e6 ? `${digits(v / 1e6, 3)} M` : Math.abs(v) >= 1e4 ? `${digits(v / 1e3, 3)} k` : Number(v).toLocaleString()),
    ms: (v) => (v == null ? "no data" : v >= 1000 ? `${digits(v / 1000, 3)} s` : `${digits(v, 3)} ms`),
    share: (v) => (v == null ? "no data" : `${digits(v * 100, 2)} %`),
    number: (v) => (v == null ? "no data" : digits(v, 3)),
  };
})();

/* Heat maps: what the cell under the pointer says. */
(() => {
  let tip = null;
  document.addEventListener("pointermove", (event) => {
    const strip = event.target.closest ? event.target.closest("[data-tips]") : null;
    if (!strip) {
      if (tip) tip.hidden = true;
      return;
    }
    if (!tip) {
      tip = document.createElement("div");
      tip.className = "tip";
      document.body.append(tip);
    }
    const cells = strip.dataset.tips.split("\n");
    const box = strip.getBoundingClientRect();
    const place = Math.min(cells.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * cells.length)));
    tip.textContent = cells[place];
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 12)}px`;
    const below = box.bottom + 8;
    tip.style.top = `${below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 8 : below}px`;
  });
})();

/* Acts: ask for the reason, send it, say what came of it. */
(() => {
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  };

  function key() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function toast(text, bad) {
    const told = make("div", bad ? "toast bad" : "toast", text);
    told.setAttribute("role", "status");
    document.body.append(told);
    setTimeout(() => told.remove(), 5000);
  }

  function ask(act) {
    const dialog = make("dialog", "ask");
    const form = make("form");
    form.method = "dialog";
    const field = make("textarea");
    field.rows = 3;
    field.required = true;
    field.maxLength = 1000;
    field.id = "ask-field";
    const label = make("label", "", act.asks);
    label.htmlFor = field.id;
    const problem = make("p", "problem");
    problem.hidden = true;
    problem.setAttribute("role", "alert");
    const cancel = make("button", "act", "Cancel");
    cancel.type = "button";
    const go = make("button", act.danger ? "act danger solid" : "act solid", act.label);
    go.type = "submit";
    const row = make("div", "row");
    row.append(cancel, go);
    form.append(make("h2", "", act.title), make("p", "", act.sentence), label, field, problem, row);
    dialog.append(form);
    document.body.append(dialog);
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    const once = key();
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      go.disabled = true;
      problem.hidden = true;
      try {
        const answer = await fetch(act.url, {
          method: "POST",
          headers: { "content-type": "application/json", "idempotency-key": once },
          body: JSON.stringify({ ...act.more, [act.field]: field.value.trim() }),
        });
        if (answer.ok) {
          dialog.close();
          toast(act.done);
          window.dash_clientside.set_props("done", { data: once });
          return;
        }
        const told = await answer.json();
        problem.textContent = told.detail + (told.hint ? ". " + told.hint : "");
      } catch {
        problem.textContent = "The platform does not answer; nothing was done as far as we know.";
      }
      problem.hidden = false;
      go.disabled = false;
    });
    dialog.showModal();
    field.focus();
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-act]");
    if (button) {
      ask(JSON.parse(button.dataset.act));
      return;
    }
    if (event.target.closest("[data-sign-out]")) {
      await fetch("/api/v1/session", { method: "DELETE" });
      location.assign("/sign-in");
    }
  });
})();

/* A lost connection is said; an ended session goes to the sign-in. */
(() => {
  const plain = window.fetch.bind(window);
  let note = null;
  let since = null;

  function lost(isLost) {
    if (isLost && !note) {
      since = new Date();
      note = document.createElement("div");
      note.className = "lost-connection";
      note.setAttribute("role", "alert");
      note.textContent = `The platform does not answer. You see what was known at ${since.toLocaleTimeString()}; trying again…`;
      document.body.prepend(note);
    } else if (!isLost && note) {
      note.remove();
      note = null;
    }
  }

  window.fetch = async (...asked) => {
    const url = String(asked[0] && asked[0].url ? asked[0].url : asked[0]);
    if (!url.includes("_dash-update-component")) return plain(...asked);
    try {
      const answer = await plain(...asked);
      if (answer.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      lost(answer.status >= 500);
      return answer;
    } catch (error) {
      lost(true);
      throw error;
    }
  };
})();
