// The picture of the routing, on a canvas; arrows or the pointer tell one cell in words.
import { type KeyboardEvent, type PointerEvent, useEffect, useRef, useState } from 'react';
import { hueOf, type WireRouting } from './routing.ts';

const SMALLEST_COLUMN = 7;
const LARGEST_COLUMN = 22;
const HEIGHT = { low: 5, high: 18, whole: 320 };

interface ExpertsPictureProps {
  readonly routing: WireRouting;
  /** Only this expert's cells are in full colour. */
  readonly expert: number | null;
}

export function ExpertsPicture({ routing, expert }: ExpertsPictureProps) {
  const { experts, layers, tokens } = routing;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [cell, setCell] = useState({ token: 0, layer: 0 });
  const [width, setWidth] = useState(0);
  const column = Math.max(SMALLEST_COLUMN, Math.min(LARGEST_COLUMN, Math.floor(width / tokens.length)));
  const row = Math.max(HEIGHT.low, Math.min(HEIGHT.high, Math.floor(HEIGHT.whole / layers.length)));

  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setWidth(entry!.contentRect.width));
    watcher.observe(box.current!);
    return () => watcher.disconnect();
  }, []);

  useEffect(() => {
    const scale = devicePixelRatio || 1;
    const element = canvas.current!;
    element.width = column * tokens.length * scale;
    element.height = row * layers.length * scale;
    const context = element.getContext('2d')!;
    context.scale(scale, scale);
    const gap = Math.min(column, row) > 6 ? 1 : 0.5;
    for (const [x, token] of tokens.entries())
      for (const [y, ids] of token.experts.entries())
        for (const [part, id] of ids.entries()) {
          const isFull = expert === null || expert === id;
          context.fillStyle = `oklch(65% ${isFull ? 0.14 : 0.02} ${hueOf(id, experts)} / ${isFull ? 1 : 0.22})`;
          const height = (row - gap) / ids.length; // several experts share the cell
          context.fillRect(x * column, y * row + part * height, column - gap, height);
        }
  }, [tokens, layers, experts, expert, column, row]);

  const move = (token: number, layer: number) =>
    setCell({
      token: Math.max(0, Math.min(tokens.length - 1, token)),
      layer: Math.max(0, Math.min(layers.length - 1, layer)),
    });
  const onPointer = (event: PointerEvent) => {
    const { left, top } = canvas.current!.getBoundingClientRect();
    move(Math.floor((event.clientX - left) / column), Math.floor((event.clientY - top) / row));
  };
  const STEPS: Record<string, readonly [number, number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    move(cell.token + step[0], cell.layer + step[1]);
  };
  const token = tokens[Math.min(cell.token, tokens.length - 1)]!;
  const ids = token.experts[Math.min(cell.layer, layers.length - 1)]!;
  const words = `Token ${cell.token + 1} of ${tokens.length}, layer ${layers[cell.layer]}: ${ids.length === 1 ? 'expert' : 'experts'} ${ids.join(', ')}`;
  return (
    <div className="experts-picture">
      <div
        className="experts-scroll"
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys go from cell to cell
        tabIndex={0}
        role="application"
        aria-label={`Experts by token and layer: ${tokens.length} tokens, ${layers.length} layers. The arrow keys go from cell to cell.`}
        onKeyDown={onKeyDown}
        onPointerMove={onPointer}
        onPointerDown={onPointer}
      >
        <div className="experts-canvas" style={{ inlineSize: column * tokens.length, blockSize: row * layers.length }}>
          <canvas ref={canvas} />
          <span
            className="experts-cell"
            style={{
              inlineSize: column,
              blockSize: row,
              insetInlineStart: cell.token * column,
              insetBlockStart: cell.layer * row,
            }}
          />
        </div>
      </div>
      <p className="experts-axes" aria-hidden="true">
        <span>first token</span>
        <span>
          layers {layers[0]} (top) to {layers.at(-1)}
        </span>
        <span>last token</span>
      </p>
      <p className="experts-words" role="status">
        <code>{token.text.replace(/\n/g, '⏎').replace(/ /g, '·') || '∅'}</code>
        <span>{words}</span>
      </p>
    </div>
  );
}
