// Fetches the page again every few seconds and puts its live part in place of the old one, unless somebody is in there.
const EVERY = 4000;

async function refresh() {
  const old = document.getElementById("live");
  if (document.hidden || !old || old.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceChildren(...fresh.childNodes);
  } catch {
    // The server is being restarted; the next round finds it.
  }
}

setInterval(refresh, EVERY);
