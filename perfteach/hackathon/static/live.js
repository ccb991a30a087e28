// Fetches the page again every few seconds and puts its live part in place of the old one, unless somebody reads it by
// keyboard. A click also focuses what scrolls, but shows no focus, and need not stop anything.
const EVERY = 4000;
const PATIENCE = 15_000;
let [asking, missed] = [false, 0];

// Changes only what differs: scrolled tables, selected text and the place where somebody reads stay as they are.
function merge(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const [now, next] = [[...old.childNodes], [...fresh.childNodes]];
  const alike = old.nodeName === fresh.nodeName && now.length === next.length && now.every((node, k) => node.nodeName === next[k].nodeName);
  if (!alike || !now.length) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) old.setAttribute(name, value);
  now.forEach((node, k) => merge(node, next[k]));
}

// Says, outside the live part, that what is shown may be old.
function silent(old) {
  const id = "silent";
  if (missed < 2) return document.getElementById(id)?.remove();
  if (document.getElementById(id)) return null;
  const said = document.createElement("p");
  Object.assign(said, { id, className: "problem", textContent: "The board does not answer at the moment. What stands here may be old." });
  said.setAttribute("role", "alert");
  return old.before(said);
}

async function refresh() {
  const old = document.getElementById("live");
  if (document.hidden || !old || old.querySelector(":focus-visible") || asking) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE) });
    missed = answer.ok ? 0 : missed + 1;
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (fresh) merge(old, fresh);
  } catch {
    missed += 1; // the server is being restarted; the next round finds it
  } finally {
    asking = false;
    silent(document.getElementById("live"));
  }
}

setInterval(refresh, EVERY);
