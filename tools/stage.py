"""A page of its own for a widget: the view on a model without a kernel, in a light or a dark theme."""

from __future__ import annotations

import base64
import json
from typing import Any

# What JupyterLab 4.6 sets in its two themes.
NAMES = ("content-font-color1", "content-font-color2", "layout-color0", "border-color2")
THEMES = {
    "light": ("rgba(0,0,0,.87)", "rgba(0,0,0,.54)", "#fff", "#e0e0e0"),
    "dark": ("#fff", "rgba(255,255,255,.7)", "#111", "#616161"),
}

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>stage</title><style>:root {%s}
body {margin: 8px; background: var(--jp-layout-color0); } %s</style><div id="widget"></div><script type="module">
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
const state = JSON.parse(%s, (key, value) => value?.bytes === undefined ? value : bytes(value.bytes));
const heard = {};
window.model = {
  sent: [], saved: 0,
  get: (name) => state[name],
  set(name, value) { state[name] = value; (heard[name] ?? []).forEach((act) => act()); },
  on(event, act) { (heard[event.slice(7)] ??= []).push(act); },
  off(event, act) { heard[event.slice(7)] = heard[event.slice(7)].filter((own) => own !== act); },
  save_changes() { this.saved += 1; },
  send(content) { this.sent.push(content); },
};
const view = await import(URL.createObjectURL(new Blob([%s], {type: "text/javascript"})));
const began = performance.now();
await view.default.render({ model: window.model, el: document.getElementById("widget") });
requestAnimationFrame(() => requestAnimationFrame(() => { window.ready = performance.now() - began; }));
</script></html>"""


def stage(widget: Any, theme: str = "light") -> str:
    """The page as HTML."""
    state = {name: value for name, value in widget.get_state().items() if not name.startswith("_")}
    looks = "".join(f"--jp-{name}: {value};" for name, value in zip(NAMES, THEMES[theme], strict=True))
    css = str(widget._css)
    plain = json.dumps(state, default=lambda value: {"bytes": base64.b64encode(bytes(value)).decode()})
    texts = [json.dumps(text).replace("</", "<\\/") for text in (plain, str(widget._esm))]
    return PAGE % (looks, css, *texts)
