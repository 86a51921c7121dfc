// What stays in this browser: values in localStorage, checked when they come back.

const PREFIX = 'open-maverick.';

/** The stored value, or null if there is none or `isValid` refuses it (an older version's, or a damaged one). */
export function recall<T>(key: string, isValid: (value: unknown) => value is T): T | null {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(PREFIX + key) ?? 'null');
    return isValid(value) ? value : null;
  } catch {
    return null;
  }
}

/** Takes a stored value away. */
export function forget(key: string): void {
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // switched off: there is nothing to take away
  }
}

/** False if the browser's storage is full or switched off. */
export function remember(key: string, value: unknown): boolean {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
