/** Choose the scene of one side. */

import { make } from "./dom.js";

/** @import {Scene} from "./types.js" */

/** @param {(scene: string | null) => void} onChange */
export function scenePicker(onChange) {
  const select = make("select", { onchange: () => onChange(select.value || null) });
  const element = make("label", { class: "wide" }, "Scene ", select);

  /**
   * @param {string | null} chosen
   * @param {Scene[]} scenes
   */
  const show = (chosen, scenes) => {
    const names = scenes.map((scene) => scene.name);
    const missing = chosen === null || names.includes(chosen) ? [] : [chosen];
    select.replaceChildren(
      make("option", { value: "" }, "none"),
      ...names.map((name) => make("option", { value: name }, name)),
      ...missing.map((name) => make("option", { value: name }, `${name} (not live)`)),
    );
    select.value = chosen ?? "";
    element.hidden = select.options.length === 1; // A service without scenes has nothing to choose.
  };
  return { element, select, show };
}
