// Shows what came in. The token comes in the link's fragment, which no browser sends and no server logs, and stays in this
// tab: a cookie would go to every server of this machine, whichever its port.
"use strict";

const KEPT = "leadcast-sandbox-token";

async function show() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEPT, given);
    history.replaceState(null, "", location.pathname);
  }
  const token = sessionStorage.getItem(KEPT);
  if (!token) return;
  const answer = await fetch("/page", { headers: { Authorization: `Bearer ${token}` } });
  const main = document.querySelector("main");
  if (!answer.ok) {
    main.textContent = `The sandbox says ${answer.status}: the link is one of another start. Take a new one: leadcast status`;
    main.className = "bad";
    return;
  }
  main.className = "";
  main.innerHTML = await answer.text();
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString();
  }
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) show();
});
show();
