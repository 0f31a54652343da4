import {notFoundError} from '../platform/errors';
import type {Command} from './command';
import {readPages, sectionsWith} from './pages';

/** As many sections as fit on some screens. The others are listed. */
const PRINTED = 3;

/** The command that prints pages of a folder. */
export function docsOf(folder: string): Command {
  return {
    usage: '[<page>] | [<words>…]',
    summary: 'lists the pages of the documentation, prints one, or prints the sections that contain all words',
    options: {},
    run: async ({paths: words}, {out}) => {
      const pages = await readPages(folder);
      if (words.length === 0) {
        const width = Math.max(...pages.map(({name}) => name.length));
        out(pages.map(({name, title}) => `${name.padEnd(width)}  ${title}`).join('\n'));
        return;
      }
      const page = pages.find(({name}) => words.length === 1 && name === words[0]);
      if (page !== undefined) {
        out(page.text.trimEnd());
        return;
      }
      const sections = sectionsWith(pages, words);
      if (sections.length === 0) {
        throw notFoundError(`No section contains ${words.join(', ')}. Without words, docs lists the pages.`);
      }
      for (const section of sections.slice(0, PRINTED)) {
        out(`[${section.page.name}]\n${section.text.trimEnd()}\n`);
      }
      const unprinted = sections.slice(PRINTED).map(({page: {name}, heading}) => `  ${name}: ${heading}`);
      if (unprinted.length > 0) {
        out(['Also in:', ...unprinted].join('\n'));
      }
    },
  };
}
