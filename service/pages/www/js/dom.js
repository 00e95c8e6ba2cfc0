/** Make and find elements. */

/** @typedef {Node | string | null | false} Child */

/**
 * Find an element of the page by its id. Throws if it is missing or of another type.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} with the id ${id}`);
  return found;
}

/**
 * Make an element. A property `onX` listens to the event X; `true` sets an attribute, `false` and null leave it out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties]
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, properties);
  element.append(...kept(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an SVG element.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {Child[]} children
 * @returns {SVGElement}
 */
export function makeSvg(tag, properties = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  apply(element, properties);
  element.append(...kept(children));
  return element;
}

/**
 * Put new children into an element. What is unfolded or has the focus in the old ones is so in the new ones, by its id.
 * @param {HTMLElement} element
 * @param {Child[]} children
 */
export function renew(element, ...children) {
  const open = [...element.querySelectorAll("details[open]")].map((details) => details.id);
  const focused = element.contains(document.activeElement) && document.activeElement?.closest("details")?.id;
  element.replaceChildren(...kept(children));
  for (const details of element.querySelectorAll("details")) {
    details.open = open.includes(details.id);
    if (details.id === focused) details.querySelector("summary")?.focus();
  }
}

/**
 * Make text that only screen readers read.
 * @param {string} text
 */
export function unseen(text) {
  return make("span", { class: "unseen" }, text);
}

/**
 * @param {Element} element
 * @param {Record<string, unknown>} properties
 */
function apply(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function kept(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child !== null && child !== false));
}
