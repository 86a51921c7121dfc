// Colours code by what nearly all languages share: comments, strings, numbers, keywords, names that are called.

export type Tint = 'comment' | 'string' | 'number' | 'keyword' | 'call' | null;

const HASH_COMMENTS =
  /^(py|python|rb|ruby|sh|bash|shell|zsh|ya?ml|toml|perl|r|make|makefile|dockerfile|conf|ini|julia|elixir)$/i;
const DASH_COMMENTS = /^(sql|lua|haskell|hs|ada|elm)$/i;
const PLAIN = /^(|te?xt|plain|plaintext|markdown|md|console|output|log|diff|csv)$/i;

const KEYWORDS = new Set(
  `abstract alignas and any as assert async auto await base bool boolean break byte case catch char class const constexpr continue
   crate debugger declare def default defer del delete do done double dyn elif else end enum esac except export extends extern
   false fi final finally float fn for foreach from func function global go goto if impl implements import in include inline
   instanceof int interface is lambda let local long loop match mod module move mut namespace new nil nonlocal none None not null
   number object of operator or override package pass private protected pub public raise readonly ref register require return
   satisfies sealed select self short signed sizeof static str string struct super switch template then this throw trait true True
   False try type typedef typename typeof undefined union unless unsafe unsigned until use using val var virtual void volatile when
   where while with yield create table insert into values update set order group by having join on left right inner limit distinct
   exists like between primary key foreign references alter drop index view begin commit count`.split(/\s+/),
);

/** Bounded, so that text full of quotes that nothing closes takes no quadratic time. */
const STRINGS = String.raw`"(?:[^"\\\n]|\\.){0,1000}"|'(?:[^'\\\n]|\\.){0,1000}'|\x60(?:[^\x60\\]|\\[\s\S]){0,4000}\x60`;
const NUMBERS = String.raw`\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b`;
const WORDS = String.raw`[A-Za-z_$][\w$]*`;

/** The text in pieces, each with its tint; the pieces together are the text. Time is linear in its length. */
export function tintCode(text: string, language: string): { readonly tint: Tint; readonly text: string }[] {
  if (PLAIN.test(language)) return [{ tint: null, text }];
  const line = HASH_COMMENTS.test(language) ? '#' : DASH_COMMENTS.test(language) ? '--' : '//';
  const isMarkup = /^(html|xml|svg|vue)$/i.test(language);
  const comments = isMarkup ? String.raw`<!--[\s\S]*?(?:-->|$)` : String.raw`${line}[^\n]*|\/\*[\s\S]*?(?:\*\/|$)`;
  const isSql = /^sql$/i.test(language);
  const pattern = new RegExp(`(${comments})|("""[\\s\\S]*?"""|${STRINGS})|(${NUMBERS})|(${WORDS})(\\s*\\()?`, 'g');
  const pieces: { tint: Tint; text: string }[] = [];
  const push = (tint: Tint, piece: string) => {
    const last = pieces.at(-1);
    if (piece === '') return;
    if (last?.tint === tint) last.text += piece;
    else pieces.push({ tint, text: piece });
  };
  let at = 0;
  for (const found of text.matchAll(pattern)) {
    push(null, text.slice(at, found.index));
    at = found.index + found[0].length;
    const [whole, comment, string, number, word, opening] = found;
    if (comment) push('comment', comment);
    else if (string) push('string', string);
    else if (number) push('number', number);
    else if (KEYWORDS.has(isSql ? word!.toLowerCase() : word!)) {
      push('keyword', word!);
      push(null, opening ?? '');
    } else if (opening) {
      push('call', word!);
      push(null, opening);
    } else push(null, whole);
  }
  push(null, text.slice(at));
  return pieces;
}
