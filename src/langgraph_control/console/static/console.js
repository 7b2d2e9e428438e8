// What the pages do beyond links and forms: news, keys, focus. Everything works without it.
"use strict";

(() => {
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // --- News: how many requests wait ---

  const say = (text) => {
    const live = find("#live");
    if (live) live.textContent = text;
  };

  const AGAIN_MS = 10000;
  let open = null;
  let news = null;
  let again = 0;

  // A browser has six connections to the console for all of its tabs: only tabs that are looked at hold one for news.
  const hush = () => {
    clearTimeout(again);
    if (news) news.close();
    news = null;
  };

  const listen = () => {
    if (news || document.hidden) return;
    clearTimeout(again);
    news = new EventSource("/events");
    news.addEventListener("inbox", (event) => {
      const count = JSON.parse(event.data).open;
      document.body.classList.remove("away");
      for (const badge of all("[data-open-count]")) badge.textContent = count;
      if (open !== null) {
        if (count > open) say(`${count - open} more waiting, ${count} in all`);
        document.body.dispatchEvent(new CustomEvent("inbox-changed"));
      }
      open = count;
    });
    news.addEventListener("away", () => {
      if (!document.body.classList.contains("away")) say("The ledger cannot be reached");
      document.body.classList.add("away");
    });
    news.addEventListener("signed-out", () => {
      hush();
      location.assign("/sign-in");
    });
    news.addEventListener("error", (event) => {
      if (event.target.readyState !== EventSource.CLOSED) return; // it tries again by itself
      hush(); // refused, as where too many pages listen: the page goes on without, and asks again later
      again = setTimeout(listen, AGAIN_MS);
    });
  };

  const keepListening = () => {
    listen();
    document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
    window.addEventListener("pagehide", hush);
    window.addEventListener("pageshow", listen);
  };

  // --- Keys ---

  const KEYS = "control-keys";
  const keysOn = () => localStorage.getItem(KEYS) !== "off";
  const items = () => all("[data-item]");

  const step = (by) => {
    const list = items();
    if (list.length === 0) return;
    const at = document.activeElement;
    const here = list.findIndex((item) => item === at || (at !== document.body && item.closest("li")?.contains(at)));
    const next = here < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, here + by));
    list[next].focus();
  };

  const decide = (decision) => {
    const button = find(`#${decision}`);
    if (button) {
      button.focus();
      return;
    }
    const item = document.activeElement;
    if (item && item.matches("a[data-item='request']")) location.assign(`${item.getAttribute("href")}#${decision}`);
  };

  const choose = () => {
    const at = document.activeElement;
    const box = at?.matches("input[type=checkbox]") ? at : at?.closest("li")?.querySelector(".choice input");
    if (box) box.click();
  };

  const go = (selector) => {
    const link = find(selector);
    if (link) link.click();
  };

  const actions = {
    j: () => step(1),
    k: () => step(-1),
    a: () => decide("approve"),
    r: () => decide("reject"),
    c: () => find("#comment")?.focus(),
    e: () => find("#edit summary")?.focus(),
    x: choose,
    t: () => go("#look-together"),
    n: () => go("[data-key='n']"),
    u: () => go("[data-key='u']"),
    "?": () => {
      const help = find("#keys");
      if (help) {
        help.open = !help.open;
        help.querySelector("summary").focus();
      }
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const inField = event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select");
    if (inField) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = keysOn() ? actions[event.key] : undefined;
    if (action) {
      event.preventDefault();
      action();
    }
  });

  const keySwitch = () => {
    const toggle = find("#keys-on");
    if (!toggle) return;
    toggle.checked = keysOn();
    toggle.addEventListener("change", () => localStorage.setItem(KEYS, toggle.checked ? "on" : "off"));
  };

  // --- Focus and choice: where a link or a change led, and what was chosen before a list was made anew ---

  const focusTarget = () => {
    const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
    const said = find("[data-said]");
    if (target) target.focus();
    else if (said) said.focus();
  };

  let focused = null;
  let chosen = [];
  document.addEventListener("htmx:beforeSwap", () => {
    focused = document.activeElement?.id || null;
    chosen = all(".choice input:checked").map((box) => box.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of chosen) {
      const box = document.getElementById(id);
      if (box) box.checked = true;
    }
    if (focused) document.getElementById(focused)?.focus();
  });

  // --- A form is sent once; a second click does no harm, and shows that the first one counts ---

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const form of all("form[data-sent]")) {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    keySwitch();
    focusTarget();
    if (document.body.dataset.signedIn) keepListening();
  });
})();
