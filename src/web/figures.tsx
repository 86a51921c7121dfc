// An answer's figures: tokens and speed in a line, the rest behind it.
import type { AnswerFigures } from './conversation.ts';
import { count, duration, short } from './numbers.ts';

export function Figures({ figures, model }: { figures: AnswerFigures; model: string | undefined }) {
  const { tokens, tokensPerSecond, promptTokens, promptTokensPerSecond, cachedTokens } = figures;
  const { firstTokenMs, drafted, accepted } = figures;
  const rows: (readonly [string, string] | false | undefined)[] = [
    model !== undefined && ['Model', model],
    promptTokens !== null && [
      'Prompt',
      `${count(promptTokens)} tokens${promptTokensPerSecond === null ? '' : `, ${short(promptTokensPerSecond)} a second`}`,
    ],
    !!cachedTokens && ['From the cache', `${count(cachedTokens)} tokens`],
    firstTokenMs !== undefined && ['First token after', duration(firstTokenMs)],
    !!drafted && ['Looked up', `${count(accepted ?? 0)} of ${count(drafted)} tokens taken`],
  ];
  return (
    <details className="figures">
      <summary title="More figures">
        {count(tokens)} {tokens === 1 ? 'token' : 'tokens'}
        {tokensPerSecond !== null && <> · {short(tokensPerSecond)} tok/s</>}
      </summary>
      <dl>
        {rows
          .filter(row => row !== false && row !== undefined)
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
    </details>
  );
}
