// Live updates: shows when the node cannot be reached, and reloads when the session has expired.
// Copies a text when its button is pressed.
"use strict";

const offline = document.getElementById("offline");

document.addEventListener("htmx:beforeRequest", (event) => {
  const isPolling = event.detail.requestConfig.verb === "get";
  if (document.hidden && isPolling) event.preventDefault();
});

document.addEventListener("htmx:sendError", () => {
  offline.hidden = false;
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr.status > 0) offline.hidden = true;
});

document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) window.location.reload();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-sends]")) event.target.form.requestSubmit();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.text);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(document.getElementById(button.dataset.copies));
    button.textContent = "Selected: press Ctrl+C";
  }
});
