// Shows times as local ones, retries and cancels, follows Airflow's switch for light and dark, refreshes the page's content in place, and opens Airflow's pages outside of the frame.
"use strict";

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time")) time.textContent = local.format(new Date(time.dateTime));
}

// Inside Airflow its own switch counts, not the system's; next-themes writes the choice onto the outer page's root.
function followAirflowsColours() {
  const outer = window.top.document.documentElement;
  const follow = () => {
    document.documentElement.style.colorScheme = outer.style.colorScheme;
  };
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["style"] });
  follow();
}

// The frame that Airflow shows us in may not navigate the window around it, but a link of that window may.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow]");
  if (!link || window === window.top || event.ctrlKey || event.metaKey || event.button) return;
  event.preventDefault();
  const outer = window.top.document.createElement("a");
  outer.href = link.href;
  window.top.document.body.append(outer);
  outer.click();
  outer.remove();
});

// A button with data-sure is pressed twice: the frame that Airflow shows us in may open no dialogue.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  if (button.dataset.sure && !button.dataset.name) askAgain(button);
  else post(button);
});

function askAgain(button) {
  button.dataset.name = button.textContent;
  button.textContent = button.dataset.sure;
  button.focus(); // as long as it has the focus, nothing is refreshed under it
  const forget = () => {
    button.textContent = button.dataset.name;
    delete button.dataset.name;
  };
  button.addEventListener("blur", forget, { once: true });
}

async function post(button) {
  const said = document.getElementById("said");
  button.disabled = true;
  said.textContent = "…";
  try {
    const answer = await fetch(button.dataset.post, { method: "POST", headers: { "X-Requested-With": "leadcast" }, signal: AbortSignal.timeout(30000) });
    if (answer.ok) return window.location.reload();
    said.textContent = (await answer.json()).detail;
  } catch {
    said.textContent = "Airflow does not answer. Load the page again to see whether it was done.";
  }
  button.disabled = false;
}

const live = document.querySelector("main[data-refresh-s]");
const freshness = document.getElementById("freshness");
let shown = live?.innerHTML;

function isBusy() {
  return document.hidden || live.contains(document.activeElement) || !window.getSelection().isCollapsed;
}

async function refresh() {
  if (isBusy()) return true;
  const answer = await fetch(window.location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
  if (!answer.ok) throw new Error(String(answer.status));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  freshness.textContent = "";
  if (isBusy()) return true;
  if (page.innerHTML !== shown) {
    shown = page.innerHTML;
    live.innerHTML = shown;
    showLocalTimes(live);
  }
  return page.dataset.refreshS !== undefined;
}

async function keepFresh() {
  let goesOn = true;
  try {
    goesOn = await refresh();
  } catch {
    freshness.textContent = "not up to date: Airflow does not answer";
  }
  if (goesOn) setTimeout(keepFresh, live.dataset.refreshS * 1000);
}

showLocalTimes(document);
if (window !== window.top) followAirflowsColours();
if (live) setTimeout(keepFresh, live.dataset.refreshS * 1000);
