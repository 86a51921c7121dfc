// A message's text: as it is, with fenced code set apart.
import { Fragment } from 'react';

/** Text and code in turns; a fence that is still open while the answer streams is code already. */
export function splitFences(
  text: string,
): { readonly code: boolean; readonly language: string; readonly text: string }[] {
  const parts: { code: boolean; language: string; text: string }[] = [];
  let rest: string[] = [];
  let language: string | null = null;
  const close = () => {
    if (rest.length > 0) parts.push({ code: language !== null, language: language ?? '', text: rest.join('\n') });
    rest = [];
  };
  for (const line of text.split('\n')) {
    const fence = /^\s{0,3}```\s*([\w+#.-]*)\s*$/.exec(line);
    if (!fence || (language !== null && fence[1] !== '')) {
      rest.push(line);
      continue;
    }
    close();
    language = language === null ? fence[1]! : null;
  }
  close();
  return parts;
}

export function AnswerText({ text }: { text: string }) {
  return splitFences(text).map((part, index) => {
    const key = `${index}-${part.code}`; // parts only grow at the end
    if (!part.code)
      return <Fragment key={key}>{part.text.trim() !== '' && <p className="prose">{part.text.trim()}</p>}</Fragment>;
    return (
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      <pre key={key} className="code" data-language={part.language || undefined} tabIndex={0}>
        <code>{part.text}</code>
      </pre>
    );
  });
}
