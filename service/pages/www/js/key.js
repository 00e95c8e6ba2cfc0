/** Keep the API key: in this tab's session storage only, never in a link, a file or a copied text. */

export const WRONG_KEY = "This key is not one of the service's.";
const PLACE = "listwright-key";

/** @returns {string | null} */
export function storedKey() {
  return sessionStorage.getItem(PLACE);
}

/** @param {string} key */
export function storeKey(key) {
  sessionStorage.setItem(PLACE, key);
}

export function forgetKey() {
  sessionStorage.removeItem(PLACE);
}
