// Sentences in a live region that stays where it is, so that a screen reader reads what comes into it.
import { make, mount } from "./shared.mjs";

function render({ model, el }) {
  const said = make("div", { role: "status", style: `min-height:${model.get("lines") * 1.7}em` });
  mount(el, "pt").append(said);
  const show = () => said.replaceChildren(...model.get("sentences").map((text) => make("p", { text })));
  model.on("change:sentences", show);
  show();
  return () => model.off("change:sentences", show);
}

export default { render };
