// Fetches the page again every few seconds and puts its live part in place of the old one, unless somebody reads it by
// keyboard. A click also focuses what scrolls, but shows no focus, and need not stop anything.
const EVERY = 4000;
let asking = false;

async function refresh() {
  const old = document.getElementById("live");
  if (document.hidden || !old || old.querySelector(":focus-visible") || asking) return;
  asking = true;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceChildren(...fresh.childNodes);
  } catch {
    // The server is being restarted; the next round finds it.
  } finally {
    asking = false;
  }
}

setInterval(refresh, EVERY);
