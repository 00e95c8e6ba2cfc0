/** Let people choose light or dark; without a choice the system's is taken. */

import { byId } from "./dom.js";

const PLACE = "listwright-theme";
const NEXT = /** @type {Record<string, string>} */ ({ system: "light", light: "dark", dark: "system" });

export function setUpTheme() {
  const button = byId("theme", HTMLButtonElement);
  let theme = localStorage.getItem(PLACE) ?? "system";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme] ?? "system";
    localStorage.setItem(PLACE, theme);
    show();
  });
  show();
}
