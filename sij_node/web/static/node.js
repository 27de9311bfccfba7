// What makes a page follow the node by itself: says when it does not answer or the session is over.
"use strict";

const offline = document.getElementById("offline");

document.addEventListener("htmx:beforeRequest", (event) => {
  const asksByItself = event.detail.requestConfig.verb === "get";
  if (document.hidden && asksByItself) event.preventDefault();
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
