// Renews the parts of a page while one looks at it, counts relative times on, and knows some keys.
// Everything works without it.
(() => {
  "use strict";
  const { live: address, base } = document.body.dataset;
  if (!address || !window.EventSource) return;

  let source = null;
  let held = false;
  let at = "";
  let waiting = null; // a page that is newer than what somebody uses
  let ahead = 0; // by how many ms the clock of the server is ahead of ours
  let chosen = null; // the id of the row that keys chose

  // ---- live ----

  const say = (kind, word, rest) => {
    const place = document.getElementById("live");
    if (!place) return;
    const bold = document.createElement("b");
    bold.textContent = word;
    place.className = `live ${kind}`;
    place.replaceChildren(bold, ` ${rest}`);
  };

  const isBusy = (element) =>
    (element.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button, summary")) ||
    element.querySelector("details[open]") !== null ||
    element.querySelector("input[name=id]:checked") !== null;

  // The property `id` of a form is a field of that name, if it has one.
  const regions = (root) => new Map([...root.querySelectorAll(".region[id]")].map((region) => [region.getAttribute("id"), region]));

  // Returns whether all of the page is as new as `main`: what somebody uses stays as it is.
  const renew = (main) => {
    const page = new DOMParser().parseFromString(`<main>${main}</main>`, "text/html").querySelector("main");
    const [mine, theirs] = [regions(document), regions(page)];
    const isSame = mine.size === theirs.size && [...theirs.keys()].every((id) => mine.has(id));
    const inner = document.querySelector(".inner");
    let isWhole = true;
    if (!isSame) {
      isWhole = !isBusy(inner);
      if (isWhole) inner.replaceChildren(...page.querySelector(".inner").childNodes);
    } else {
      for (const [id, region] of theirs) {
        const old = mine.get(id);
        if (old.innerHTML === region.innerHTML) continue;
        if (isBusy(old)) isWhole = false;
        else old.replaceWith(region);
      }
    }
    mark();
    writeTimes();
    return isWhole;
  };

  const clock = (text) => {
    const [hours, minutes, seconds] = text.split(":").map(Number);
    const day = 86400000;
    const theirs = ((hours * 60 + minutes) * 60 + seconds) * 1000;
    const off = ((theirs - (Date.now() % day)) + 1.5 * day) % day - day / 2;
    ahead = Math.abs(off) > 5000 ? off : 0;
  };

  const open = () => {
    if (source || held || document.hidden) return;
    source = new EventSource(address);
    source.onmessage = (event) => {
      const data = JSON.parse(event.data);
      at = data.at;
      clock(at);
      if (data.is_away) return say("held", "Away", "tries again");
      waiting = data.main ?? waiting;
      if (waiting && renew(waiting)) waiting = null;
      if (chosenRows().length > 0) return say("held", "Held", `while rows are chosen, as of ${at} UTC`);
      if (waiting && document.activeElement.matches("input, select, textarea")) {
        return say("held", "Held", `while a field is in use, as of ${at} UTC`);
      }
      say("", "Live", `${at} UTC`);
    };
    source.onerror = () => {
      say("held", "Away", "tries again");
      // A stream that ends is opened again by the browser; one that was refused is not.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 5000);
      }
    };
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      say("held", "Held", "while this tab is hidden");
    } else {
      open();
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);

  // ---- relative times ----

  const brief = (seconds) => {
    if (seconds < 1) return "<1s";
    if (seconds < 60) return `${Math.floor(seconds)}s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h`;
    return `${Math.floor(seconds / 86400)}d`;
  };

  // Kept until the tab is closed.
  const isExact = () => sessionStorage.getItem("exact") === "true";

  const writeTimes = () => {
    const now = Date.now() + ahead;
    document.body.classList.toggle("exact-times", isExact());
    for (const time of document.querySelectorAll("time.ago")) {
      const seconds = (now - Date.parse(time.dateTime)) / 1000;
      const ago = seconds < 0 ? `in ${brief(-seconds)}` : `${brief(seconds)} ago`;
      const text = isExact() ? time.title : ago;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  setInterval(() => document.hidden || held || writeTimes(), 1000);
  if (isExact()) writeTimes();

  // ---- keys ----

  const pages = { o: "", j: "/jobs", f: "/failures", q: "/queues", l: "/limits", r: "/recurring", b: "/batches", t: "/tenants", p: "/processes", a: "/audit" };
  const chosenRows = () => [...document.querySelectorAll(".rows input[name=id]:checked")];
  const boxes = () => [...document.querySelectorAll(".rows input[name=id]")];
  let lastBox = null;

  // Chooses or leaves all rows between two.
  document.addEventListener("click", (event) => {
    const box = event.target.closest(".rows input[name=id]");
    if (!box) return;
    const all = boxes();
    const [from, to] = [all.indexOf(lastBox), all.indexOf(box)].sort((one, other) => one - other);
    if (event.shiftKey && from >= 0) for (const each of all.slice(from, to + 1)) each.checked = box.checked;
    lastBox = box;
  });

  const boxOfRow = () => {
    const row = rows().find((each) => name(each) === chosen);
    return row && row.querySelector("input[name=id]");
  };

  const rows = () => [...document.querySelectorAll(".inner tbody tr")].filter((row) => row.querySelector("a.name"));
  const name = (row) => row.querySelector("a.name").getAttribute("href");

  const mark = () => {
    for (const row of rows()) row.classList.toggle("kbd-row", name(row) === chosen);
  };

  const step = (by) => {
    const all = rows();
    if (all.length === 0) return;
    const place = all.findIndex((row) => name(row) === chosen);
    const next = all[Math.max(0, Math.min(all.length - 1, place + by))];
    chosen = name(next);
    mark();
    next.scrollIntoView({ block: "nearest" });
  };

  const press = (selector) => {
    const element = document.querySelector(selector);
    if (element) element.click();
    return element !== null;
  };

  const hold = () => {
    held = !held;
    if (held) {
      close();
      say("held", "Held", `as of ${at} UTC`);
    } else {
      open();
    }
  };

  const keys = {
    "?": () => location.assign(`${base}/help`),
    "/": () => document.querySelector("input[type=search]")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    Enter: () => chosen && location.assign(chosen),
    x: () => boxOfRow()?.click(),
    X: () => boxOfRow()?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: true })),
    "*": () => {
      const isAll = boxes().every((box) => box.checked);
      for (const box of boxes()) box.checked = !isAll;
    },
    r: () => chosenRows().length > 0 && press(".bulk button[formaction$='/retry']"),
    d: () => chosenRows().length > 0 && press(".bulk button[formaction$='/discard']"),
    "[": () => press(".pager [rel=first]"),
    "]": () => press(".pager [rel=next]"),
    ".": () => location.reload(),
    h: hold,
    t: () => {
      sessionStorage.setItem("exact", !isExact());
      writeTimes();
    },
    Escape: () => {
      chosen = null;
      for (const box of chosenRows()) box.checked = false;
      mark();
    },
  };

  let isGoing = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (isGoing) {
      isGoing = false;
      const path = pages[event.key];
      if (path !== undefined) location.assign(base + path || "/");
      return;
    }
    if (event.key === "g") {
      isGoing = true;
      setTimeout(() => (isGoing = false), 1500);
      return;
    }
    const act = keys[event.key];
    if (!act || (event.key === "Enter" && event.target.closest("a, button, summary"))) return;
    if (event.key !== "Escape" && event.key !== "Enter") event.preventDefault();
    act();
  });

  open();
})();
