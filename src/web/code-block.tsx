// A block of code: its language, a button that copies it, and the code in colours.
import { memo } from 'react';
import { tintCode } from './code-tint.ts';
import { CopyButton } from './copy-button.tsx';

export const CodeBlock = memo(function CodeBlock({ text, language }: { text: string; language: string }) {
  let at = 0;
  return (
    <figure className="code">
      <figcaption>
        <span>{language || 'code'}</span>
        <CopyButton text={text} what="code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard */}
      <pre tabIndex={0}>
        <code>
          {tintCode(text, language).map(piece => {
            const key = at;
            at += piece.text.length;
            if (piece.tint === null) return piece.text;
            return (
              <span key={key} className={`tint-${piece.tint}`}>
                {piece.text}
              </span>
            );
          })}
        </code>
      </pre>
    </figure>
  );
});
