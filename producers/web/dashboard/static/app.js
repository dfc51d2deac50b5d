// Small comforts. Every page works without them.
"use strict";

// A checkbox that chooses all rows of a form.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-all]");
  if (!all) return;
  for (const box of document.querySelectorAll(`input[type=checkbox][form="${all.dataset.all}"]`)) {
    box.checked = all.checked;
  }
});

// What is said once must not be sent twice.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// A text to be copied, such as a key that is shown once.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
});

// Parts of pages that could not be brought up to date.
const notice = (text) => {
  const place = document.getElementById("notice");
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
};
document.addEventListener("htmx:responseError", (event) => {
  notice(`The page could not be brought up to date (${event.detail.xhr.status}). What you see may be old.`);
});
document.addEventListener("htmx:sendError", () => {
  notice("Rosterhub does not answer. What you see may be old.");
});
document.addEventListener("htmx:afterOnLoad", () => notice(""));

// Another page of a list: the reader goes on at its beginning.
document.addEventListener("htmx:afterSettle", (event) => {
  const list = document.getElementById("list");
  if (list && event.detail.requestConfig?.boosted && !list.contains(document.activeElement)) {
    list.focus({ preventScroll: true });
    list.scrollIntoView({ block: "start" });
  }
});

// What somebody has opened stays open when its part of the page is brought up to date.
let opened = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  opened = [...event.detail.target.querySelectorAll("details[id][open]")].map((part) => part.id);
});
document.addEventListener("htmx:afterSettle", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  opened = [];
});
