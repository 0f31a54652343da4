// The page docs/troubleshooting.md: every message of the library under what explains it.

import {type Explanation, NO_MESSAGES, ROOMS} from './explained';
import {collectTexts} from './messages';

/** What a page of explanations comes to, and what is wrong with it. */
export interface Troubleshooting {
  page: string;
  /** Messages that nothing explains. */
  unexplained: string[];
  /** Parts of messages that no message has any more. */
  unused: string[];
}

const ALL: readonly Explanation[] = ROOMS.flatMap(({explanations}) => explanations);

function has(text: string, parts: readonly string[]): boolean {
  return parts.some(part => text.includes(part));
}

/** How long the longest part of a text is that an explanation has. */
function longest(text: string, {parts}: Explanation): number {
  return Math.max(...parts.filter(part => text.includes(part)).map(({length}) => length));
}

/** Messages by what explains them. */
function grouped(messages: readonly string[]): Map<Explanation | undefined, string[]> {
  const groups = new Map<Explanation | undefined, string[]>();
  for (const text of messages) {
    const [explanation] = ALL.filter(({parts}) => has(text, parts)).sort((a, b) => longest(text, b) - longest(text, a));
    groups.set(explanation, [...(groups.get(explanation) ?? []), text]);
  }
  return groups;
}

export function troubleshooting(): Troubleshooting {
  const texts = collectTexts();
  const messages = texts.filter(text => !has(text, NO_MESSAGES));
  const explained = grouped(messages);
  const parts = [...NO_MESSAGES, ...ALL.flatMap(explanation => explanation.parts)];
  return {
    page: pageOf(explained),
    unexplained: explained.get(undefined) ?? [],
    unused: parts.filter(part => !texts.some(text => text.includes(part))),
  };
}

function pageOf(messages: ReadonlyMap<Explanation | undefined, string[]>): string {
  const rooms = ROOMS.map(({title, explanations}) => {
    const entries = explanations.map(explanation => {
      const list = (messages.get(explanation) ?? []).join('\n');
      return `### ${explanation.title}\n\n${explanation.cause}\n\n**Way out.** ${explanation.way}\n\n\`\`\`text\n${list}\n\`\`\`\n`;
    });
    return `## ${title}\n\n${entries.join('\n')}`;
  });
  return `# Troubleshooting

What the library says, why, and what to do. It throws \`LoRAError\`s: what was expected, what came, the way out, a line each where several things are
wrong. A call that fails changes nothing. Search this page for a part of your message; \`…\` stands for names and numbers.

<!-- Written by \`npm run docs:errors\`, from the source and scripts/troubleshooting/explained.ts. -->

${rooms.join('\n')}`;
}
