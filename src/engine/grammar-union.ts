// Expressions of GBNF that may be impossible, and their union.

/** A text of GBNF, or null where nothing is valid. */
export type Text = string | null;

export function union(texts: readonly Text[]): Text {
  const possible = [...new Set(texts.filter(text => text !== null))];
  return possible.length === 0
    ? null
    : possible.map(text => (text.includes('|') && possible.length > 1 ? `(${text})` : text)).join(' | ');
}
