// Cuts Markdown where it may be cut, so that while an answer streams only its last block is read again.

/**
 * The text in blocks that mean the same alone as together: cut before a line of prose, a heading or a fence that follows an empty line,
 * never inside a fence and never where a list, a quote or a table may go on. The blocks together are the text.
 */
export function markdownBlocks(text: string): string[] {
  const blocks: string[] = [];
  let block = '';
  let fence: string | null = null;
  let isAfterEmpty = false;
  for (const line of text.split(/(?<=\n)/)) {
    // Indented lines, further items and quotes may belong to what stands above.
    if (fence === null && isAfterEmpty && block !== '' && !/^(\s|[-*+>|:]|\d+[.)])/.test(line)) {
      blocks.push(block);
      block = '';
    }
    const mark = /^ {0,3}(`{3,}|~{3,})(.*)/.exec(line);
    if (mark && fence === null && !(mark[1]!.startsWith('`') && mark[2]!.includes('`'))) fence = mark[1]!;
    else if (mark && fence !== null && mark[1]!.startsWith(fence) && mark[2]!.trim() === '') fence = null;
    block += line;
    isAfterEmpty = line.trim() === '';
  }
  if (block !== '') blocks.push(block);
  return blocks;
}
