// An answer's Markdown as elements. HTML in it stays text, addresses that run code are dropped, and nothing is fetched: an image is a link.
import { type ComponentProps, memo } from 'react';
import ReactMarkdown, { type Components, type ExtraProps } from 'react-markdown';
import remarkGfm from 'remark-gfm';
import { CodeBlock } from './code-block.tsx';
import { markdownBlocks } from './markdown-blocks.ts';

const PLUGINS = [remarkGfm];

function SafeLink({ href, children }: ComponentProps<'a'>) {
  if (!href) return <>{children}</>;
  const isOutside = /^[a-z][a-z\d+.-]*:/i.test(href);
  // What the model calls a path of its own would lead to this server.
  if (!isOutside) return <>{children}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** All of one level below the page's own heading, whichever level the model began with; they differ in size. */
const Heading = ({ node, children }: ComponentProps<'h2'> & ExtraProps) => (
  <h2 className={node?.tagName}>{children}</h2>
);

const COMPONENTS: Components = {
  a: ({ href, children }) => <SafeLink href={href}>{children}</SafeLink>,
  img: ({ src, alt }) => <SafeLink href={typeof src === 'string' ? src : undefined}>{alt || 'image'}</SafeLink>,
  pre({ node }) {
    const [code] = node?.children ?? [];
    if (code?.type !== 'element') return null;
    const names = code.properties.className;
    const language = (Array.isArray(names) ? String(names[0] ?? '') : '').replace('language-', '');
    const text = code.children.map(child => (child.type === 'text' ? child.value : '')).join('');
    return <CodeBlock text={text.replace(/\n$/, '')} language={language} />;
  },
  table: ({ children }) => (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <section className="table" tabIndex={0} aria-label="Table">
      <table>{children}</table>
    </section>
  ),
  input: ({ checked }) => <span>{checked ? '☑' : '☐'}</span>,
  h1: Heading,
  h2: Heading,
  h3: Heading,
  h4: Heading,
  h5: Heading,
  h6: Heading,
};

const Block = memo(function Block({ text }: { text: string }) {
  return (
    <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS}>
      {text}
    </ReactMarkdown>
  );
});

export function Markdown({ text }: { text: string }) {
  return (
    <div className="prose">
      {markdownBlocks(text).map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: blocks only grow at the end
        <Block key={index} text={block} />
      ))}
    </div>
  );
}
