import {readdir, readFile} from 'node:fs/promises';
import {join} from 'node:path';

/** A page of the documentation. */
export interface Page {
  /** Its file's name without the ending. */
  name: string;
  title: string;
  /** Its first paragraph as plain text, empty if it begins with a table or code. */
  summary: string;
  text: string;
}

/** A heading of a page and what follows it, up to the next heading. */
interface Section {
  page: Page;
  heading: string;
  text: string;
}

/** The pages in a folder, by name, without those that only lead to another. */
export async function readPages(folder: string): Promise<Page[]> {
  const names = (await readdir(folder)).filter(name => name.endsWith('.md')).sort();
  const pages = await Promise.all(
    names.map(async file => {
      const text = await readFile(join(folder, file), 'utf8');
      const [heading = '', first = ''] = text.split(/\n{2,}/);
      const summary = /^(?:```|[|#])/.test(first)
        ? ''
        : first.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('\n', ' ');
      return {name: file.replace(/\.md$/, ''), title: heading.replace(/^# /, ''), summary, text};
    }),
  );
  return pages.filter(({text}) => !text.includes('This page is now part of ['));
}

/** The sections with all words in any case: first those with most of them in the heading, then those with most. */
export function sectionsWith(pages: readonly Page[], words: readonly string[]): Section[] {
  const wanted = words.map(word => word.toLowerCase());
  const counted = ({heading, text}: Section) => {
    const [inHeading, inText] = [heading, text].map(content =>
      wanted.reduce((total, word) => total + content.toLowerCase().split(word).length - 1, 0),
    ) as [number, number];
    return {inHeading, inText};
  };
  return pages
    .flatMap(sectionsOf)
    .filter(({text}) => wanted.every(word => text.toLowerCase().includes(word)))
    .map(section => ({section, ...counted(section)}))
    .sort((a, b) => b.inHeading - a.inHeading || b.inText - a.inText)
    .map(({section}) => section);
}

function sectionsOf(page: Page): Section[] {
  let section: Section = {page, heading: page.title, text: ''};
  const sections = [section];
  let isCode = false;
  for (const line of page.text.split('\n')) {
    isCode = /^ *```/.test(line) ? !isCode : isCode;
    const heading = isCode ? undefined : /^##+ (.*)$/.exec(line)?.[1];
    if (heading !== undefined) {
      section = {page, heading, text: ''};
      sections.push(section);
    }
    section.text += `${line}\n`;
  }
  return sections;
}
