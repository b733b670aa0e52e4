// What a page cannot do by itself: send its forms as JSON, follow a run, turn the pages of a list, choose a file.
// Everything that is shown comes from the server as HTML, escaped there.
"use strict";

const token = document.querySelector("meta[name=page-token]").content;
const say = (text) => { document.getElementById("say").textContent = text; };

function note(place, html) {
  place.innerHTML = html;
  const box = place.querySelector(".notice") || place;
  box.tabIndex = -1;
  box.focus();
}

function lost(place) {
  const box = document.createElement("div");
  box.className = "notice bad";
  box.textContent = document.body.dataset.lost;
  place.replaceChildren(box);
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Page-Token": token },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// Sends, shows what comes back, or goes where it says.
async function submit(element, path, body) {
  const place = (element.closest("form, section, main") || document).querySelector(".answer") || document.querySelector(".answer");
  const buttons = document.querySelectorAll("main button:not([disabled])");
  buttons.forEach((b) => { b.disabled = true; });
  if (place) place.innerHTML = "<p class=busy aria-hidden=true></p>";
  try {
    const answer = await post(path, body);
    if (answer.go === location.pathname || answer.go === "") return location.reload();
    if (answer.go) return location.assign(answer.go);
    if (place) note(place, answer.html || "");
  } catch (error) {
    if (place) lost(place);
  }
  buttons.forEach((b) => { b.disabled = false; });
}

async function contents(form) {
  const body = Object.fromEntries(new FormData(form));
  for (const input of form.querySelectorAll("[data-upload]"))
    if (input.files.length) body[input.dataset.upload] = { name: input.files[0].name, content: await input.files[0].text() };
  return body;
}

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.dataset.post) submit(form, form.dataset.post, await contents(form));
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.post && !unkept()) submit(button, button.dataset.post, JSON.parse(button.dataset.body));
  else if (button.dataset.page) turn(button.closest(".accounts"), button.dataset.page, true);
  else if (button.dataset.choose) open_chooser(button);
  else if (button.dataset.enter) enter(button.closest(".chooser"), button.dataset.enter);
  else if (button.dataset.take) take(button);
});

// Rules that were changed and not kept would be gone with this page: before it goes on, it says so.
function unkept() {
  const rules = document.querySelector(".policies[data-changed]");
  const place = document.querySelector("main > .answer, section > .answer");
  if (!rules || !place) return false;
  const box = document.createElement("div");
  box.className = "notice warn";
  box.textContent = rules.dataset.unkept;
  note(place, box.outerHTML);
  return true;
}
document.querySelectorAll(".policies").forEach((rules) => {
  rules.addEventListener("input", () => { rules.dataset.changed = ""; });
});

document.getElementById("language").addEventListener("change", (event) => {
  submit(event.target, "/api/language", { lang: event.target.value });
});

// ---- parts of the target's page that belong to one kind of target ----

function show_kind() {
  const chosen = document.querySelector("input[name=target]:checked");
  if (chosen) document.querySelectorAll("[data-when]").forEach((e) => { e.hidden = e.dataset.when !== chosen.value; });
}
document.querySelectorAll("input[name=target]").forEach((e) => e.addEventListener("change", show_kind));
show_kind();

// ---- files below the server's folder ----

async function enter(chooser, path) {
  const answer = await fetch("/folder?path=" + encodeURIComponent(path));
  chooser.innerHTML = await answer.text();
  const only = chooser.querySelector("[data-only-folder]");
  if (only) only.hidden = chooser.dataset.folder !== "1";
  const first = chooser.querySelector("button");
  if (first) first.focus();
}

function open_chooser(button) {
  const chooser = button.parentElement.querySelector(".chooser");
  chooser.hidden = !chooser.hidden;
  button.setAttribute("aria-expanded", String(!chooser.hidden));
  chooser.dataset.folder = button.dataset.folder;
  if (!chooser.hidden) enter(chooser, "");
}

function take(button) {
  const box = button.closest(".file");
  const input = box.querySelector("input");
  input.value = button.dataset.take;
  box.querySelector(".chooser").hidden = true;
  box.querySelector("[data-choose]").setAttribute("aria-expanded", "false");
  input.focus();
}

// ---- a long list ----

const list = document.querySelector(".accounts");
let page = 0;
let asked = 0;

async function turn(section, to, from_person) {
  page = Number(to);
  const mine = ++asked;
  const filter = section.querySelector("input[type=search]").value;
  let html;
  try {
    html = await (await fetch(section.dataset.lines + "?page=" + page + "&q=" + encodeURIComponent(filter))).text();
  } catch (error) {
    return;
  }
  if (mine !== asked) return;  // a later question was asked meanwhile
  const lines = section.querySelector(".lines");
  const active = document.activeElement;
  const had_focus = lines.contains(active);
  if (had_focus && !from_person) return;  // nobody is pulled away from where he reads
  const account = had_focus && active.dataset.account;
  lines.innerHTML = html;
  const again = account ? "[data-account='" + CSS.escape(account) + "']" : "[data-page]:not([disabled])";
  if (had_focus) (lines.querySelector(again) || lines.querySelector("[tabindex]")).focus();
  if (from_person) say(lines.querySelector(".pager span").textContent);
}

if (list) {
  list.querySelector("input[type=search]").addEventListener("input", () => turn(list, 0, true));
  list.addEventListener("change", async (event) => {
    const box = event.target.closest("[data-account]");
    if (!box) return;
    try {
      const answer = await post("/api/account", { account: box.dataset.account, move: String(box.checked) });
      if (answer.go === "") return location.reload();
      turn(list, page, true);
    } catch (error) {
      box.checked = !box.checked;
    }
  });
  if (list.dataset.refresh === "1") setInterval(() => { if (!document.hidden) turn(list, page, false); }, 2000);
}

// ---- a run ----

const live = document.getElementById("live");
if (live && live.dataset.live === "1") {
  const events = new EventSource("/events");
  let spoken = "";
  events.onmessage = (event) => {
    const now = JSON.parse(event.data);
    if (now.go) {
      events.close();
      if (now.go === location.pathname) location.reload();
      else location.assign(now.go);
      return;
    }
    live.innerHTML = now.panel;
    if (now.say !== spoken) say(spoken = now.say);
  };
  // The browser tries again by itself; until then nobody should take old figures for new ones.
  events.onerror = () => { if (!live.querySelector(".notice.bad")) live.insertAdjacentHTML("afterbegin", "<div class='notice bad lost'></div>");
    live.querySelector(".notice.bad").textContent = document.body.dataset.lost; };
}
